#include "unicorn/handle.h"

#include <unordered_set>

namespace unicorn {
namespace {

// Externals of others are not ours to look into: what was made here is known by its address. A handle stays in the thread
// of its environment, so nobody is locked out. The set goes with its last handle, since a thread may end before or after
// what JavaScript held there.
thread_local std::unordered_set<const void*>* known = nullptr;

void forget(Handle* handle) {
  known->erase(handle);
  delete handle;
  if (!known->empty()) return;
  delete known;
  known = nullptr;
}

}  // namespace

Napi::Value newHandle(Napi::Env env, Handle handle) {
  auto owned = std::make_unique<Handle>(std::move(handle));
  auto external = Napi::External<Handle>::New(env, owned.get(), [](Napi::Env, Handle* held) { forget(held); });
  if (known == nullptr) known = new std::unordered_set<const void*>();
  known->insert(owned.release());
  return external;
}

Handle& anyHandle(const Napi::Value& value) {
  void* data = nullptr;
  const bool isExternal = !value.IsEmpty() && napi_get_value_external(value.Env(), value, &data) == napi_ok;
  require(isExternal && known != nullptr && known->count(data) != 0, "a handle is what this addon made");
  return *static_cast<Handle*>(data);
}

}  // namespace unicorn
