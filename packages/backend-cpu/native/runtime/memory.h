// Memory that the addon owns: zeroed anonymous pages and mapped files. Both are released when the last holder lets go.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

namespace unicorn {

// Zeroed pages that are not touched until used. Page-aligned.
class Pages {
 public:
  // `huge`: all of it will be touched soon, so large pages save TLB misses; a sparse buffer would only grow.
  // Throws Failure resource/memory.
  static std::shared_ptr<Pages> allocate(size_t byteLength, bool huge = false);
  ~Pages();
  Pages(const Pages&) = delete;
  Pages& operator=(const Pages&) = delete;

  uint8_t* data() const { return data_; }
  size_t byteLength() const { return byteLength_; }

 private:
  Pages(uint8_t* data, size_t byteLength) : data_(data), byteLength_(byteLength) {}
  uint8_t* data_;
  size_t byteLength_;
};

// A whole file, mapped for reading. A file that shrinks while it is mapped ends the process at the next touch of a lost
// page (SIGBUS): sizes are checked when it is opened, what happens to it afterwards is its owner's responsibility.
class MappedFile {
 public:
  // Throws Failure usage/file.
  static std::shared_ptr<MappedFile> open(const std::string& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  const uint8_t* data() const { return data_; }
  size_t byteLength() const { return byteLength_; }
  const std::string& path() const { return path_; }

  // Gives the resident pages that lie wholly inside the range back to the system; they are read again when touched.
  void forget(size_t offset, size_t byteLength) const;
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
