// Handles: what JavaScript holds of an addon's objects. A handle is an External with a shared object of some C++ type,
// which JavaScript releases explicitly or by garbage collection. A handle of another type or of another addon is refused,
// and so is every other value.
#pragma once

#include <napi.h>

#include <memory>
#include <utility>

#include "failure.h"

namespace unicorn {

// Its address tells the types of handles apart.
template <typename T>
inline char handleType = 0;

struct Handle {
  const void* type;
  std::shared_ptr<void> object;  // null when it was let go of

  template <typename T>
  bool holds() const {
    return type == &handleType<T>;
  }
};

Napi::Value newHandle(Napi::Env env, Handle handle);
template <typename T>
Napi::Value newHandle(Napi::Env env, std::shared_ptr<T> object) {
  return newHandle(env, Handle{&handleType<T>, std::move(object)});
}

// A handle of any type of this addon. Throws Failure internal/invariant for anything else.
Handle& anyHandle(const Napi::Value& value);

// A handle of a T, which may have been let go of. Throws Failure internal/invariant for anything else.
template <typename T>
Handle& handleOf(const Napi::Value& value) {
  Handle& handle = anyHandle(value);
  require(handle.holds<T>(), "a handle is of the type that the function wants");
  return handle;
}

// The object of a handle of a T, or null when it was let go of. Throws Failure internal/invariant for anything else.
template <typename T>
std::shared_ptr<T> objectOrNull(const Napi::Value& value) {
  return std::static_pointer_cast<T>(handleOf<T>(value).object);
}

// The object of a handle of a T. Throws Failure usage/disposed when it was let go of, internal/invariant for anything else.
template <typename T>
std::shared_ptr<T> object(const Napi::Value& value) {
  auto held = objectOrNull<T>(value);
  if (!held) throw Failure("usage/disposed", "The object that was called was disposed of before.");
  return held;
}

}  // namespace unicorn
