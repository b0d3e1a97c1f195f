#include "unicorn/background.h"

#include <system_error>
#include <utility>

#include "unicorn/failure.h"

namespace unicorn {

Background::~Background() {
  stop_.store(true);
  for (Task& task : tasks_) task.thread.join();
}

void Background::start(std::function<void(const std::atomic<bool>& stop)> task) {
  tasks_.remove_if([](Task& each) {
    if (!each.done.load()) return false;
    each.thread.join();
    return true;
  });
  Task& entry = tasks_.emplace_back();
  try {
    entry.thread = std::thread([this, &entry, run = std::move(task)]() mutable {
      run(stop_);
      run = nullptr;  // this thread releases what the task holds, before it counts as done
      entry.done.store(true);
    });
  } catch (const std::system_error&) {
    tasks_.pop_back();
    throw Failure("resource/threads", "The system refused to start a thread.");
  }
}

}  // namespace unicorn
