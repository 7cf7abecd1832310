#pragma once
#include <stdint.h>

#include <functional>

namespace slaf {

// Calls work(0) … work(tiles - 1), each once, on up to ``threads`` threads of which the caller is one. Which thread takes which tile is
// not determined, so results must not depend on it. Concurrent callers do not wait for each other: the second works alone.
void parallel(int64_t tiles, int threads, const std::function<void(int64_t)>& work);

}  // namespace slaf
