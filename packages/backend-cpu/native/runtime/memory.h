// Memory that the addon owns, which is freed with its last holder.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

namespace unicorn {

// Zeroed pages that are not touched until used. Page-aligned.
class Pages {
 public:
  // `huge`: all of it will be touched soon, so that large pages save TLB misses; a sparse buffer would only grow by them.
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

}  // namespace unicorn
