#pragma once
#include <stdint.h>

#include <functional>

namespace slaf {

// GOMP_parallel of an OpenMP runtime: calls work(data) on so many threads.
typedef void GompParallel(void (*work)(void*), void* data, unsigned threads, unsigned flags);

// From now on threads come from this runtime; null: from a pool of our own. A forked child starts with that.
void borrow(GompParallel* parallel);
bool borrowed();

// Calls work(0) … work(tiles - 1), each once, on up to ``wanted`` threads of which the caller is one. Which thread takes which tile is
// not determined, so results must not depend on it. Concurrent callers do not wait for each other: the second has threads of its own or
// works alone. ``team``: the threads that torch takes; OpenMP ends and makes threads where one call takes fewer than the last.
void parallel(int64_t tiles, int wanted, int team, const std::function<void(int64_t)>& work);

}  // namespace slaf
