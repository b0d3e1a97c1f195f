#include "memory.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "failure.h"

namespace unicorn {
namespace {

size_t pageBytes() {
  static const size_t bytes = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  return bytes;
}

#ifndef MAP_NORESERVE
#define MAP_NORESERVE 0
#endif
#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22  // Linux 5.14; refused with EINVAL before and elsewhere
#endif

}  // namespace

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

std::shared_ptr<MappedFile> MappedFile::open(const std::string& path) {
  const auto fail = [&](const char* what) -> Failure {
    return Failure("usage/file", path + " could not be " + what + ": " + std::strerror(errno) + ".", {},
                   {{"file", path}})
        .withFix("Check the path and that the file may be read.");
  };
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) throw fail("opened");
  struct stat status {};
  if (fstat(descriptor, &status) != 0) {
    const Failure failure = fail("examined");
    close(descriptor);
    throw failure;
  }
  const size_t byteLength = static_cast<size_t>(status.st_size);
  void* data = nullptr;
  if (byteLength > 0) {
    data = mmap(nullptr, byteLength, PROT_READ, MAP_PRIVATE, descriptor, 0);
    if (data == MAP_FAILED) {
      const Failure failure = fail("mapped");
      close(descriptor);
      throw failure;
    }
  }
  close(descriptor);
  return std::shared_ptr<MappedFile>(new MappedFile(path, static_cast<uint8_t*>(data), byteLength));
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) munmap(data_, byteLength_);
}

void MappedFile::forget(size_t offset, size_t byteLength) const {
  const size_t page = pageBytes();
  const size_t begin = (offset + page - 1) / page * page;
  const size_t end = (offset + byteLength) / page * page;
  if (begin < end) madvise(data_ + begin, end - begin, MADV_DONTNEED);
}

void MappedFile::populate(size_t offset, size_t byteLength) const {
  const size_t page = pageBytes();
  const size_t begin = offset / page * page;
  if (madvise(data_ + begin, offset + byteLength - begin, MADV_POPULATE_READ) == 0 || errno != EINVAL) return;
  // A system that does not know this: one touch for each page.
  for (size_t at = begin; at < offset + byteLength; at += page) {
    static_cast<void>(*static_cast<const volatile uint8_t*>(data_ + at));
  }
}

}  // namespace unicorn
