#include "unicorn/mapped-file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

namespace unicorn {
namespace {

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22  // Linux 5.14; refused with EINVAL before and elsewhere
#endif

size_t pageBytes() {
  static const size_t bytes = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  return bytes;
}

}  // namespace

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
  return std::shared_ptr<MappedFile>(
      new MappedFile(path, descriptor, static_cast<uint8_t*>(data), byteLength, stampOf(status)));
}

MappedFile::MappedFile(std::string path, int descriptor, uint8_t* data, size_t byteLength, Stamp stamp)
    : path_(std::move(path)), descriptor_(descriptor), data_(data), byteLength_(byteLength), stamp_(stamp) {
  if (data != nullptr) guard_.emplace(data, byteLength);
}

MappedFile::~MappedFile() {
  guard_.reset();
  if (data_ != nullptr) munmap(data_, byteLength_);
  close(descriptor_);
}

MappedFile::Stamp MappedFile::stampOf(const struct stat& status) {
#ifdef __APPLE__
  return {status.st_mtimespec.tv_sec, status.st_mtimespec.tv_nsec};
#else
  return {status.st_mtim.tv_sec, status.st_mtim.tv_nsec};
#endif
}

void MappedFile::expectIntact() const {
  if (!damaged_.load()) {
    auto found = damage();
    if (!found) return;
    // The first verdict stays, also when the file is whole again: what was mapped is not.
    const std::lock_guard<std::mutex> lock(damageMutex_);
    if (!damage_) damage_ = std::move(found);
    damaged_.store(true);
  }
  throw *damage_;
}

std::optional<Failure> MappedFile::damage() const {
  const std::optional<size_t> lost = guard_ ? guard_->lostAt() : std::nullopt;
  struct stat status {};
  const bool known = fstat(descriptor_, &status) == 0;
  const auto length = known ? static_cast<uint64_t>(status.st_size) : byteLength_;
  if (length < byteLength_) {
    return Failure("format/truncated", path_ + " was cut short while it was in use.",
                   {{"offset", static_cast<int64_t>(length)}, {"needed", static_cast<int64_t>(byteLength_)}},
                   {{"file", path_}})
        .withFix("Download the file again, and load the model again.");
  }
  if (known && (length != byteLength_ || !(stampOf(status) == stamp_))) {
    return Failure("format/changed", path_ + " was written to while it was in use.", {}, {{"file", path_}})
        .withFix("Load the model again. Replace files of models by renaming others over them.");
  }
  if (!lost) return std::nullopt;
  return Failure("device/io", path_ + " could not be read: the disk failed.", {{"offset", static_cast<int64_t>(*lost)}},
                 {{"file", path_}})
      .withFix("Check the disk (`dmesg` says more), and load the model again.");
}

void MappedFile::expectRange(uint64_t offset, uint64_t byteLength, const std::string& tensor) const {
  if (offset <= byteLength_ && byteLength <= byteLength_ - offset) return;
  throw Failure("format/truncated", path_ + " ends inside the tensor \"" + tensor + "\".",
                {{"offset", static_cast<int64_t>(byteLength_)}, {"needed", static_cast<int64_t>(offset + byteLength)}},
                {{"file", path_}, {"field", tensor}})
      .withFix("Download the file again.");
}

MappedFile::PageRange MappedFile::pagesAround(size_t offset, size_t byteLength, size_t alignment) const {
  // Both are powers of two, so the larger is a multiple of the smaller. The mapping begins at a page, which need not be as
  // aligned as the device wants it.
  const size_t unit = alignment > pageBytes() ? alignment : pageBytes();
  const auto address = reinterpret_cast<uintptr_t>(data_) + offset;
  const uintptr_t begin = address / unit * unit;
  const uintptr_t end = (address + byteLength + unit - 1) / unit * unit;
  const size_t mapped = (byteLength_ + pageBytes() - 1) / pageBytes() * pageBytes();
  const auto first = reinterpret_cast<uintptr_t>(data_);
  if (begin < first || end > first + mapped) return {};
  return {reinterpret_cast<const uint8_t*>(begin), static_cast<size_t>(begin - first),
          static_cast<size_t>(end - begin)};
}

void MappedFile::forget(size_t offset, size_t byteLength) const {
  const size_t page = pageBytes();
  const size_t begin = (offset + page - 1) / page * page;
  const size_t end = (offset + byteLength) / page * page;
  if (begin < end) madvise(data_ + begin, end - begin, MADV_DONTNEED);
}

void MappedFile::prefetch(size_t offset, size_t byteLength) const {
  const size_t begin = offset / pageBytes() * pageBytes();
  madvise(data_ + begin, offset + byteLength - begin, MADV_WILLNEED);
}

void MappedFile::populate(size_t offset, size_t byteLength) const {
  const size_t page = pageBytes();
  const size_t begin = offset / page * page;
  if (madvise(data_ + begin, offset + byteLength - begin, MADV_POPULATE_READ) == 0 || errno != EINVAL) return;
  // A system that does not know the advice has each page touched once.
  for (size_t at = begin; at < offset + byteLength; at += page) {
    static_cast<void>(*static_cast<const volatile uint8_t*>(data_ + at));
  }
}

}  // namespace unicorn
