#include "unicorn/handle.h"

namespace unicorn {
namespace {

// Externals of others are not ours to look into. Each addon has this code for itself, so that an address in it is one
// that no other addon has, nor another build of the same.
const napi_type_tag& handleTag() {
  static const char own = 0;
  static const napi_type_tag tag = {0x2f6d1c5e8a9b4073, static_cast<uint64_t>(reinterpret_cast<uintptr_t>(&own))};
  return tag;
}

}  // namespace

Napi::Value newHandle(Napi::Env env, Handle handle) {
  auto external =
      Napi::External<Handle>::New(env, new Handle(std::move(handle)), [](Napi::Env, Handle* held) { delete held; });
  require(napi_type_tag_object(env, external, &handleTag()) == napi_ok, "a new external takes a tag");
  return external;
}

Handle& anyHandle(const Napi::Value& value) {
  bool ours = false;
  require(value.IsExternal() && napi_check_object_type_tag(value.Env(), value, &handleTag(), &ours) == napi_ok && ours,
          "a handle is what this addon made");
  return *value.As<Napi::External<Handle>>().Data();
}

}  // namespace unicorn
