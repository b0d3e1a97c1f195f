// A whole file, mapped for reading. A file that shrinks while it is mapped ends the process at the next touch of a lost page
// (SIGBUS): sizes are checked when it is opened, what happens to it afterwards is its owner's responsibility.
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

  const uint8_t* data() const { return data_; }
  size_t byteLength() const { return byteLength_; }
  const std::string& path() const { return path_; }

  // The range and what lies around it in pages of `alignment` bytes or the system's, whichever are larger: empty where those
  // would reach beyond the mapping.
  struct Pages {
    const uint8_t* data = nullptr;
    size_t offset = 0, byteLength = 0;
  };
  Pages pagesAround(size_t offset, size_t byteLength, size_t alignment) const;

  // Gives the resident pages that lie wholly inside the range back to the system; they are read again when touched.
  void forget(size_t offset, size_t byteLength) const;
  // Asks the system to read the range ahead.
  void prefetch(size_t offset, size_t byteLength) const;

 private:
  MappedFile(std::string path, uint8_t* data, size_t byteLength)
      : path_(std::move(path)), data_(data), byteLength_(byteLength) {}
  std::string path_;
  uint8_t* data_;
  size_t byteLength_;
};

}  // namespace unicorn
