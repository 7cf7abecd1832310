// Outputs that go past the caches. An ordinary store to a line that is not in a cache reads it first: over a quarter of an elementwise
// pass's traffic. Without that the line is in no cache afterwards, so it pays where the next reader would not have found it there either.
#pragma once
#include <stdint.h>

#include <atomic>

#if defined(__linux__)
#include <sys/mman.h>
#include <unistd.h>
#endif

namespace slaf {

// Where nobody says otherwise: the four tensors of a step together are more than the last level of most caches then. Where they are less,
// a step takes longer.
constexpr int64_t PAST_FROM = 16 << 20;

inline std::atomic<int64_t>& past_from() {
  static std::atomic<int64_t> bytes{PAST_FROM};
  return bytes;
}

// Whether the system has given memory to a page already. What it has just filled with zeros is in the caches, which is where to write it.
inline bool resident(const void* at) {
#if defined(__linux__)
  static const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
  unsigned char there = 0;
  return mincore((void*)((uintptr_t)at / page * page), 1, &there) == 0 && (there & 1);
#else
  (void)at;
  return false;
#endif
}

// By its middle: allocators keep notes at an end. From 0 on: all of them.
inline bool goes_past(const void* out, int64_t bytes) {
  const int64_t from = past_from().load(std::memory_order_relaxed);
  return out && bytes >= from && (from == 0 || resident(static_cast<const char*>(out) + bytes / 2));
}

// After stores past the caches, before another thread may read.
inline void settle() {
#if defined(__x86_64__) || defined(__i386__)
  asm volatile("sfence" ::: "memory");
#endif
}

}  // namespace slaf
