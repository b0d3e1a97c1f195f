// What the kit and a device do without Node, for sanitizers that cannot see into it. Exits with 1 at the first mismatch.

#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <future>
#include <string>
#include <thread>
#include <vector>

#include <unicorn/background.h>
#include <unicorn/failure.h>
#include <unicorn/mapped-file.h>

#include "device.h"

namespace {

void check(bool condition, const char* sentence) {
  if (condition) return;
  std::printf("not so: %s\n", sentence);
  std::exit(1);
}

void failures() {
  const auto json = unicorn::failureJson(unicorn::Failure("usage/x", "a \"b\"\\\n", {{"n", -3}}, {{"t", "u"}}));
  check(json == R"({"code":"usage/x","message":"a \"b\"\\\u000a","fields":{"t":"u","n":-3}})", "JSON is escaped");
}

void background() {
  std::atomic<int> stopped{0};
  {
    unicorn::Background background;
    for (int i = 0; i < 4; i++) {
      background.start([&](const std::atomic<bool>& stop) {
        while (!stop) std::this_thread::yield();
        stopped++;
      });
    }
  }
  check(stopped == 4, "every task was told to stop and joined");
}

void device() {
  std::promise<void> told;
  std::atomic<int> ended{0}, failed{0};
  int64_t sums[64] = {};
  {
    toy::Device device({[&](uint32_t job, const unicorn::Failure* failure) {
                          if (failure != nullptr) failed++;
                          ended++;
                          if (job == 0) told.set_value();
                        },
                        nullptr});
    device.add(0, 1, 2, &sums[0]);
    told.get_future().wait();
    for (uint32_t job = 1; job < 64; job++) device.add(job, job, job, &sums[job]);
  }
  check(ended == 64, "every job ends, also when the device is closed");
  check(sums[0] == 3, "the sum is right");
}

// Threads read one file while it is cut short, and others that stay whole.
void lostPages() {
  constexpr size_t byteLength = 1 << 20;
  char lost[] = "/tmp/unicorn-lost-XXXXXX", whole[] = "/tmp/unicorn-whole-XXXXXX";
  const std::string content(byteLength, '\1');
  for (char* path : {lost, whole}) {
    const int descriptor = mkstemp(path);
    check(write(descriptor, content.data(), byteLength) == static_cast<ssize_t>(byteLength), "a file is written");
    close(descriptor);
  }
  const auto file = unicorn::MappedFile::open(lost);
  file->expectIntact();
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; i++) {
    threads.emplace_back([&, i] {
      for (size_t failures = 0; failures < 20;) {
        const auto other = unicorn::MappedFile::open(whole);
        uint64_t sum = 0;
        for (size_t at = 0; at < byteLength; at += 64) sum += other->data()[at];
        check(sum == byteLength / 64, "a whole file is read");
        other->expectIntact();
        for (size_t at = 0; at < byteLength; at += 64) sum += file->data()[at];
        try {
          file->expectIntact();
          check(sum == byteLength / 32, "what counts was read");
        } catch (const unicorn::Failure& failure) {
          check(failure.code == "format/truncated", "a file that was cut short is format/truncated");
          failures++;
        }
        if (i == 0 && failures == 0) check(truncate(lost, 5000) == 0, "a file is cut short");
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  check(truncate(lost, byteLength) == 0, "a file is made longer");
  try {
    file->expectIntact();
    check(false, "what was damaged stays so");
  } catch (const unicorn::Failure& failure) {
    check(failure.code == "format/truncated", "the first verdict stays");
  }
  unlink(lost);
  unlink(whole);
}

}  // namespace

int main() {
  lostPages();
  failures();
  background();
  device();
  try {
    unicorn::MappedFile::open("/no/such/file");
    check(false, "a missing file is a failure");
  } catch (const unicorn::Failure& failure) {
    check(failure.code == "usage/file", "a missing file is usage/file");
  }
  return 0;
}
