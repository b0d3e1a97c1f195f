#include "unicorn/handle.h"

#include <unordered_set>

namespace unicorn {
namespace {

// The addresses of all handles that this thread has made. The content of an External of another addon cannot be told from
// ours, so a handle is known by its address alone. A handle stays in the thread of its environment, so the set needs no
// lock. It is destroyed with its last handle, since a thread may end before or after what JavaScript held there.
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
