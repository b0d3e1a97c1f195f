#include "unicorn/border.h"

#include <cmath>

namespace unicorn {

void raise(Napi::Env env, const Failure& failure) {
  Napi::Error error = Napi::Error::New(env, failureJson(failure));
  error.Set("code", Napi::String::New(env, "UNICORN_FAILURE"));
  throw error;
}

void initialize(Napi::Env env, Napi::Object exports, int version, void (*fill)(Napi::Object exports)) {
  try {
    exports.Set("version", Napi::Number::New(env, version));
    fill(exports);
  } catch (const Napi::Error&) {
    throw;
  } catch (...) {
    raise(env, currentFailure());
  }
}

uint64_t wholeNumber(double value, uint64_t maximum, const char* sentence) {
  require(value >= 0 && value <= static_cast<double>(largestWholeNumber) && value == std::floor(value), sentence);
  const auto whole = static_cast<uint64_t>(value);
  require(whole <= maximum, sentence);
  return whole;
}

uint64_t wholeNumber(const Napi::Value& value, uint64_t maximum, const char* sentence) {
  require(value.IsNumber(), sentence);
  return wholeNumber(value.As<Napi::Number>().DoubleValue(), maximum, sentence);
}

Bytes bytesOf(const Napi::Value& value) {
  require(value.IsTypedArray(), "bytes are a typed array");
  const auto array = value.As<Napi::TypedArray>();
  const size_t byteLength = array.ByteLength();
  auto* data = static_cast<uint8_t*>(array.ArrayBuffer().Data());
  return {data == nullptr ? nullptr : data + array.ByteOffset(), data == nullptr ? 0 : byteLength};
}

Napi::Array list(const Napi::Value& value) {
  require(value.IsArray(), "a list is an array");
  return value.As<Napi::Array>();
}

bool flag(const Napi::Value& value) {
  require(value.IsBoolean(), "a flag is a boolean");
  return value.As<Napi::Boolean>().Value();
}

std::string text(const Napi::Value& value) {
  require(value.IsString(), "a text is a string");
  return value.As<Napi::String>().Utf8Value();
}

Napi::Function callback(const Napi::Value& value) {
  require(value.IsFunction(), "a callback is a function");
  return value.As<Napi::Function>();
}

}  // namespace unicorn
