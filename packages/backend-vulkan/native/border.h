// The border to JavaScript in small: failures that leave as errors, arguments that are checked before they are used, and
// handles. Whatever JavaScript passes, nothing here crashes; what users may get wrong is checked in TypeScript, with better
// sentences.
#pragma once

#include <napi.h>

#include <cmath>
#include <cstdio>
#include <memory>
#include <string>
#include <utility>

#include "failure.h"

namespace unicorn {

// ---------------------------------------------------------------- failures

inline std::string quoted(const std::string& text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (static_cast<unsigned char>(c) < 0x20) {
      char code[8];
      std::snprintf(code, sizeof code, "\\u%04x", static_cast<unsigned>(c));
      out += code;
    } else {
      out += c;
    }
  }
  return out + '"';
}

// The JSON of a failure: {code, message, fields, fix?}.
inline std::string toJson(const Failure& failure) {
  std::string fields;
  for (const auto& [name, value] : failure.texts) {
    fields += (fields.empty() ? "" : ",") + quoted(name) + ":" + quoted(value);
  }
  for (const auto& [name, value] : failure.numbers) {
    fields += (fields.empty() ? "" : ",") + quoted(name) + ":" + std::to_string(value);
  }
  return "{\"code\":" + quoted(failure.code) + ",\"message\":" + quoted(failure.message) + ",\"fields\":{" + fields +
         "}" + (failure.fix.empty() ? "" : ",\"fix\":" + quoted(failure.fix)) + "}";
}

// Throws a JavaScript Error whose message is the JSON of the failure and whose code says so.
[[noreturn]] inline void raise(Napi::Env env, const Failure& failure) {
  Napi::Error error = Napi::Error::New(env, toJson(failure));
  error.Set("code", Napi::String::New(env, "UNICORN_FAILURE"));
  throw error;
}

// Whatever is thrown, as a Failure. Call it in a catch block.
inline Failure currentFailure() {
  try {
    throw;
  } catch (const Failure& failure) {
    return failure;
  } catch (const std::bad_alloc&) {
    return Failure("resource/memory", "Memory could not be had.");
  } catch (const std::exception& error) {
    return Failure("internal/native", error.what());
  }
}

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

// ---------------------------------------------------------------- arguments

// A whole number from 0 to `maximum`.
inline uint64_t wholeNumber(double value, uint64_t maximum, const char* sentence) {
  require(value >= 0 && value <= 9007199254740991.0 && value == std::floor(value), sentence);
  const auto whole = static_cast<uint64_t>(value);
  require(whole <= maximum, sentence);
  return whole;
}

inline uint64_t wholeNumber(const Napi::Value& value, uint64_t maximum, const char* sentence) {
  require(value.IsNumber(), sentence);
  return wholeNumber(value.As<Napi::Number>().DoubleValue(), maximum, sentence);
}

struct Bytes {
  uint8_t* data;
  size_t byteLength;
};

// The memory of a typed array of any kind.
inline Bytes bytesOf(const Napi::Value& value) {
  require(value.IsTypedArray(), "bytes are a typed array");
  const auto array = value.As<Napi::TypedArray>();
  const size_t byteLength = array.ByteLength();
  auto* data = static_cast<uint8_t*>(array.ArrayBuffer().Data());
  return {data == nullptr ? nullptr : data + array.ByteOffset(), data == nullptr ? 0 : byteLength};
}

template <typename Array>
Array typedArray(const Napi::Value& value, napi_typedarray_type type, const char* sentence) {
  require(value.IsTypedArray() && value.As<Napi::TypedArray>().TypedArrayType() == type, sentence);
  return value.As<Array>();
}

inline Napi::Array list(const Napi::Value& value) {
  require(value.IsArray(), "a list is an array");
  return value.As<Napi::Array>();
}

inline bool flag(const Napi::Value& value) {
  require(value.IsBoolean(), "a flag is a boolean");
  return value.As<Napi::Boolean>().Value();
}

inline std::string text(const Napi::Value& value) {
  require(value.IsString(), "a text is a string");
  return value.As<Napi::String>().Utf8Value();
}

// ---------------------------------------------------------------- handles

// What an External holds: a shared object that JavaScript may let go of explicitly, or by garbage collection.
enum class HandleKind : uint32_t { device = 1, buffer, weights, pipeline, recording };

struct Handle {
  HandleKind kind;
  std::shared_ptr<void> object;
};

// Externals of other addons are not ours to look into.
constexpr napi_type_tag handleTag = {0x2f6d1c5e8a9b4073, 0xb1e4760d93fa52c8};

template <typename T>
Napi::Value newHandle(Napi::Env env, HandleKind kind, std::shared_ptr<T> object) {
  auto external = Napi::External<Handle>::New(env, new Handle{kind, std::move(object)},
                                              [](Napi::Env, Handle* handle) { delete handle; });
  require(napi_type_tag_object(env, external, &handleTag) == napi_ok, "a new external takes a tag");
  return external;
}

inline Handle& anyHandle(const Napi::Value& value) {
  bool ours = false;
  require(value.IsExternal() && napi_check_object_type_tag(value.Env(), value, &handleTag, &ours) == napi_ok && ours,
          "a handle is what this addon made");
  return *value.As<Napi::External<Handle>>().Data();
}

inline Handle& handleOf(const Napi::Value& value, HandleKind kind) {
  Handle& handle = anyHandle(value);
  require(handle.kind == kind, "a handle is of the kind that the function wants");
  return handle;
}

template <typename T>
std::shared_ptr<T> object(const Napi::Value& value, HandleKind kind) {
  Handle& handle = handleOf(value, kind);
  if (!handle.object) throw Failure("usage/disposed", "What this was asked of was disposed of before.");
  return std::static_pointer_cast<T>(handle.object);
}

}  // namespace unicorn
