#include "unicorn/guarded-range.h"

#include <dlfcn.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <mutex>

#include "unicorn/failure.h"

namespace unicorn {

// What the handler reads without a lock while others come and go. The version is odd while the entry is being written; the
// entry of a range that is being touched is not written, so one that changes under the handler is not the one that it looks for.
struct GuardedRange::Entry {
  std::atomic<uint32_t> version{0};
  std::atomic<uintptr_t> begin{0}, end{0};
  std::atomic<size_t> lostAt{none};
  bool used = true;       // guarded by the mutex
  Entry* next = nullptr;  // never changes once the entry is listed

  static constexpr size_t none = SIZE_MAX;

  void write(uintptr_t from, uintptr_t to) {
    version.fetch_add(1);
    begin.store(from);
    end.store(to);
    lostAt.store(none);
    version.fetch_add(1);
  }
};

namespace {

using Entry = GuardedRange::Entry;
using Action = struct sigaction;

// Entries are used again but never freed, since the handler may be at any of them.
std::atomic<Entry*> entries{nullptr};
std::mutex entriesMutex;

// The action that ours has replaced. It is looked up before ours is installed, so that there is one at any time, and what
// was in fact replaced follows, since another addon may have come in between.
std::atomic<const Action*> previous{nullptr};

// `mmap` over pages that other threads may be reading. To a sanitizer that is a write which races with them, so it is not told.
bool zero(uintptr_t begin, size_t byteLength) {
  constexpr int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED;
#if defined(__linux__) && defined(__LP64__)
  return syscall(SYS_mmap, begin, byteLength, PROT_READ, flags, -1, 0) != -1;
#else
  return mmap(reinterpret_cast<void*>(begin), byteLength, PROT_READ, flags, -1, 0) != MAP_FAILED;
#endif
}

// Lets a range read as zeros if the address lies in it. Whole: when one page is lost nothing that was read counts, and a file of many lost pages
// raises one signal instead of many.
bool replace(Entry& entry, uintptr_t address) {
  const uint32_t version = entry.version.load();
  const uintptr_t begin = entry.begin.load(), end = entry.end.load();
  if (version % 2 != 0 || entry.version.load() != version || address < begin || address >= end) return false;
  size_t none = Entry::none;
  entry.lostAt.compare_exchange_strong(none, address - begin);
  return zero(begin, end - begin);
}

// Runs in the thread that touched the page, wherever that was: all that it does is safe in a handler of signals.
void handle(int signal, siginfo_t* info, void* context) {
  const int error = errno;
  // A page that could not be read; neither a damaged memory module nor a signal that a process has sent.
  if (info->si_code == BUS_ADRERR || info->si_code == BUS_OBJERR) {
    const auto address = reinterpret_cast<uintptr_t>(info->si_addr);
    for (Entry* entry = entries.load(); entry != nullptr; entry = entry->next) {
      if (!replace(*entry, address)) continue;
      errno = error;
      return;
    }
  }
  const Action& next = *previous.load();
  errno = error;
  if ((next.sa_flags & SA_SIGINFO) != 0) {
    next.sa_sigaction(signal, info, context);
  } else if (next.sa_handler != SIG_DFL && next.sa_handler != SIG_IGN) {
    next.sa_handler(signal);
  } else if (next.sa_handler == SIG_DFL || info->si_code > 0) {
    // As without this handler: a fault happens again and ends the process, and a sent signal is sent again.
    Action standard{};
    standard.sa_handler = SIG_DFL;
    sigaction(SIGBUS, &standard, nullptr);
    if (info->si_code <= 0) raise(SIGBUS);
  }
}

void install() {
  // Node unloads an addon with the last worker that has loaded it; its handler must outlive that.
  Dl_info self{};
  if (dladdr(reinterpret_cast<void*>(&handle), &self) != 0 && self.dli_fname != nullptr) {
    dlopen(self.dli_fname, RTLD_NOW | RTLD_NOLOAD | RTLD_NODELETE);
  }
  static Action before{}, replaced{};
  sigaction(SIGBUS, nullptr, &before);
  previous.store(&before);
  Action ours{};
  ours.sa_sigaction = handle;
  ours.sa_flags = SA_SIGINFO | SA_ONSTACK;
  sigemptyset(&ours.sa_mask);
  sigaction(SIGBUS, &ours, &replaced);
  previous.store(&replaced);
}

}  // namespace

GuardedRange::GuardedRange(uint8_t* data, size_t byteLength) {
  static const auto page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  const auto begin = reinterpret_cast<uintptr_t>(data);
  require(begin % page == 0, "a guarded range begins with a page");
  const std::lock_guard<std::mutex> lock(entriesMutex);
  static const bool installed = (install(), true);
  static_cast<void>(installed);
  entry_ = entries.load();
  while (entry_ != nullptr && entry_->used) entry_ = entry_->next;
  const bool isNew = entry_ == nullptr;
  if (isNew) entry_ = new Entry();
  entry_->used = true;
  entry_->write(begin, begin + (byteLength + page - 1) / page * page);
  if (!isNew) return;
  entry_->next = entries.load();
  entries.store(entry_);
}

GuardedRange::~GuardedRange() {
  const std::lock_guard<std::mutex> lock(entriesMutex);
  entry_->write(0, 0);
  entry_->used = false;
}

std::optional<size_t> GuardedRange::lostAt() const {
  const size_t at = entry_->lostAt.load();
  return at == Entry::none ? std::nullopt : std::optional<size_t>(at);
}

}  // namespace unicorn
