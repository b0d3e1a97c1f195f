// The border to JavaScript: functions whose failures leave as errors, and arguments that are checked before they are
// used, so that nothing that JavaScript passes crashes the process. Mistakes that users can make are checked in TypeScript,
// which has better sentences for them.
#pragma once

#include <napi.h>

#include <cstdint>
#include <string>

#include "failure.h"

namespace unicorn {

// ---------------------------------------------------------------- functions

// Throws a JavaScript Error whose message is the JSON of the failure and whose `code` is UNICORN_FAILURE.
[[noreturn]] void raise(Napi::Env env, const Failure& failure);

// The function, with whatever it throws turned into a JavaScript Error.
template <Napi::Value (*function)(const Napi::CallbackInfo&)>
Napi::Value guarded(const Napi::CallbackInfo& info) {
  try {
    return function(info);
  } catch (const Napi::Error&) {
    throw;
  } catch (...) {
    raise(info.Env(), currentFailure());
  }
}

// Exports a function, guarded, under its own name: UNICORN_EXPORT(exports, submit).
#define UNICORN_EXPORT(exports, name) \
  (exports).Set(#name, Napi::Function::New<::unicorn::guarded<name>>((exports).Env(), #name))

// Makes an addon of a function `void fill(Napi::Object exports)`. `version` is exported too: it changes with the functions
// or what they take, and `loadAddon` in TypeScript refuses a build of another one.
#define UNICORN_ADDON(version, fill)                                           \
  static Napi::Object unicornInitialize(Napi::Env env, Napi::Object exports) { \
    ::unicorn::initialize(env, exports, version, fill);                        \
    return exports;                                                            \
  }                                                                            \
  NODE_API_MODULE(NODE_GYP_MODULE_NAME, unicornInitialize)

void initialize(Napi::Env env, Napi::Object exports, int version, void (*fill)(Napi::Object exports));

// ---------------------------------------------------------------- arguments

// Each throws Failure internal/invariant when the value is not what it should be.

// JavaScript's Number.MAX_SAFE_INTEGER: the last whole number that no other one is rounded to.
constexpr uint64_t largestWholeNumber = (uint64_t{1} << 53) - 1;

// A whole number from 0 to `maximum`, and at most `largestWholeNumber`.
uint64_t wholeNumber(double value, uint64_t maximum, const char* sentence);
uint64_t wholeNumber(const Napi::Value& value, uint64_t maximum, const char* sentence);

// Memory of JavaScript. It stays where it is as long as its array lives and is not detached.
struct Bytes {
  uint8_t* data;
  size_t byteLength;
};

// The memory of a typed array of any kind: empty when the array was detached.
Bytes bytesOf(const Napi::Value& value);

// A typed array of the kind that `type` names: typedArray<Napi::Uint32Array>(info[0], napi_uint32_array, "...").
template <typename Array>
Array typedArray(const Napi::Value& value, napi_typedarray_type type, const char* sentence) {
  require(value.IsTypedArray() && value.As<Napi::TypedArray>().TypedArrayType() == type, sentence);
  return value.As<Array>();
}

Napi::Array list(const Napi::Value& value);
bool flag(const Napi::Value& value);
std::string text(const Napi::Value& value);
Napi::Function callback(const Napi::Value& value);

}  // namespace unicorn
