#include "memory.h"

#include <sys/mman.h>

#include <string>

#include <unicorn/failure.h>

#ifndef MAP_NORESERVE
#define MAP_NORESERVE 0
#endif

namespace unicorn {

std::shared_ptr<Pages> Pages::allocate(size_t byteLength, bool huge) {
  if (byteLength == 0) return std::shared_ptr<Pages>(new Pages(nullptr, 0));
  void* data = mmap(nullptr, byteLength, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (data == MAP_FAILED) {
    throw Failure("resource/memory", std::to_string(byteLength) + " bytes of memory could not be had.",
                  {{"byteLength", static_cast<int64_t>(byteLength)}});
  }
#ifdef MADV_HUGEPAGE
  if (huge) madvise(data, byteLength, MADV_HUGEPAGE);
#else
  (void)huge;
#endif
  return std::shared_ptr<Pages>(new Pages(static_cast<uint8_t*>(data), byteLength));
}

Pages::~Pages() {
  if (data_ != nullptr) munmap(data_, byteLength_);
}

}  // namespace unicorn
