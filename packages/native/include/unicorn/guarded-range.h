// A range of mapped memory whose pages may be lost: their file was cut short, or the disk fails. Touching a lost page
// raises SIGBUS, which ends a process. While a range is guarded it reads as zeros from then on instead, and remembers it:
// whoever has read it asks afterwards whether what was read counts.
//
// The first range installs a handler of SIGBUS, the only thing of the kit that is the whole process's. A fault outside of
// this addon's ranges is passed on to the handler that was there before, so several addons, each with a handler of its own,
// get on. The handler stays for as long as the process does. It knows nothing of Node.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

namespace unicorn {

class GuardedRange {
 public:
  // Both are multiples of the page size but for the length, which is rounded up. Nobody may touch the memory after the
  // guard is gone, nor unmap it before.
  GuardedRange(uint8_t* data, size_t byteLength);
  ~GuardedRange();
  GuardedRange(const GuardedRange&) = delete;
  GuardedRange& operator=(const GuardedRange&) = delete;

  // Where the page begins whose loss was noticed first, if any was.
  std::optional<size_t> lostAt() const;

  struct Entry;

 private:
  Entry* entry_;
};

}  // namespace unicorn
