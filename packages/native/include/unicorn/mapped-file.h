// A whole file, mapped for reading. A file that shrinks while it is mapped ends the process at the next touch of a lost
// page (SIGBUS): sizes are checked when it is opened, but not afterwards. It knows nothing of Node.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

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
  MappedFile(std::string path, uint8_t* data, size_t byteLength)
      : path_(std::move(path)), data_(data), byteLength_(byteLength) {}
  std::string path_;
  uint8_t* data_;
  size_t byteLength_;
};

}  // namespace unicorn
