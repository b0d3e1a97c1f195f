// How many members of a pool work together: fewer than there are when the system does not run them all, for a team whose
// members meet at barriers is as slow as the one that waits for its turn on a processor. Pure arithmetic on measured
// times; knows no threads and no clock.
//
// A run tells how long its most delayed member was ready but not running. A team of n that loses the share x of its time
// that way works like n (1 - x) members, so without one of them it is faster when x > 1/n. The decision is taken over
// a window of running time, since one interruption says little. After a pause a larger team is tried again; each trial
// that loses doubles the pause, so that trials cost a few percent where a neighbour stays.
#pragma once

#include <algorithm>

namespace unicorn {

class TeamSize {
 public:
  // Running time that a decision looks at, in milliseconds: several slices of the system's scheduler (3 to 10 ms).
  static constexpr double windowMs = 50;
  // Pauses before a larger team is tried.
  static constexpr double shortestPauseMs = 50;
  static constexpr double longestPauseMs = 4000;
  // Waking a parked member and ticks of the system's clock cost every large team some percent: 1/n alone would take
  // them for neighbours.
  static constexpr double smallestLoss = 0.25;

  explicit TeamSize(int most) : most_(most), members_(most) {}

  int members() const { return members_; }

  // A run of `members()` members took `elapsedMs`, of which its most delayed member was kept waiting for a processor
  // for `lostMs`, and ended at `nowMs`.
  void ran(double elapsedMs, double lostMs, double nowMs) {
    elapsedMs_ += elapsedMs;
    lostMs_ += std::clamp(lostMs, 0.0, elapsedMs);
    if (members_ > 1 && lostMs_ > std::max(1.0 / members_, smallestLoss) * std::max(elapsedMs_, windowMs)) {
      pauseMs_ = trial_ ? std::min(pauseMs_ * 2, longestPauseMs) : shortestPauseMs;
      // A trial that lost was of one member; else the team is far too large as often as by one.
      resize(members_ - (trial_ ? 1 : std::max(1, members_ / 4)), false, nowMs);
    } else if (elapsedMs_ >= windowMs) {
      if (trial_) pauseMs_ = shortestPauseMs;
      trial_ = false;
      elapsedMs_ = lostMs_ = 0;
    }
    if (members_ < most_ && !trial_ && nowMs - changedMs_ >= pauseMs_) resize(members_ + 1, true, nowMs);
  }

 private:
  void resize(int members, bool trial, double nowMs) {
    members_ = members;
    trial_ = trial;
    changedMs_ = nowMs;
    elapsedMs_ = lostMs_ = 0;
  }

  const int most_;
  int members_;
  bool trial_ = false;  // the last member is on trial
  double changedMs_ = 0;
  double pauseMs_ = shortestPauseMs;
  // Of the window.
  double elapsedMs_ = 0;
  double lostMs_ = 0;
};

}  // namespace unicorn
