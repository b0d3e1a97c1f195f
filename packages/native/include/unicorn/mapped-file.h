// A whole file, mapped for reading. Sizes are checked when it is opened; what may happen to the file afterwards is noticed
// by asking `expectIntact` after each use: pages that are lost meanwhile read as zeros. It knows nothing of Node.
#pragma once

#include <sys/stat.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "failure.h"
#include "guarded-range.h"

namespace unicorn {

class MappedFile {
 public:
  // Throws Failure usage/file.
  static std::shared_ptr<MappedFile> open(const std::string& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  const uint8_t* data() const { return data_; }  // null when the file is empty
  size_t byteLength() const { return byteLength_; }
  const std::string& path() const { return path_; }

  // Throws Failure format/truncated when the range, which holds the tensor of that name, is not wholly in the file.
  void expectRange(uint64_t offset, uint64_t byteLength, const std::string& tensor) const;

  // Throws when what was read from the mapping does not count, because the file is no longer the one that was opened: Failure
  // format/truncated when it is shorter, format/changed when it was written to (its time or its length says so), device/io
  // when a page could not be read. Once it has thrown it always throws the same. Costs one call into the system (some
  // 0.2 us), so it is for each job that has read the file, not for each row. From any thread.
  void expectIntact() const;

  // Whole pages of the mapping: where they are, and where in the file they begin.
  struct PageRange {
    const uint8_t* data = nullptr;
    size_t offset = 0, byteLength = 0;
  };
  // The pages around a range, of `alignment` bytes (a power of two) or the system's, whichever are larger, for a device
  // that imports whole pages only. Empty where they would reach beyond the mapping.
  PageRange pagesAround(size_t offset, size_t byteLength, size_t alignment) const;

  // Gives the resident pages that lie wholly inside the range back to the system; they are read again when touched.
  void forget(size_t offset, size_t byteLength) const;
  // Asks the system to read the range ahead, and returns at once.
  void prefetch(size_t offset, size_t byteLength) const;
  // Reads the range now where it is not in memory yet, and maps its pages, which is many times cheaper in one go than by
  // faults. Never fails: what could not be had is faulted in when it is touched.
  void populate(size_t offset, size_t byteLength) const;

 private:
  // What tells that a file was written to.
  struct Stamp {
    int64_t seconds = 0, nanoseconds = 0;  // of its last modification
    bool operator==(const Stamp& other) const { return seconds == other.seconds && nanoseconds == other.nanoseconds; }
  };

  static Stamp stampOf(const struct stat& status);
  MappedFile(std::string path, int descriptor, uint8_t* data, size_t byteLength, Stamp stamp);
  std::optional<Failure> damage() const;

  std::string path_;
  int descriptor_;
  uint8_t* data_;
  size_t byteLength_;
  Stamp stamp_;
  std::optional<GuardedRange> guard_;
  mutable std::mutex damageMutex_;
  mutable std::optional<Failure> damage_;
  mutable std::atomic<bool> damaged_{false};
};

}  // namespace unicorn
