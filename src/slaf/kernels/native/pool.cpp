// A persistent pool. No OpenMP: libgomp ends a forked child that uses it, and a second OpenMP beside torch's oversubscribes.
#include "pool.hpp"

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <system_error>
#include <thread>

#if !defined(_WIN32)
#include <pthread.h>
#include <signal.h>
#endif

namespace slaf {
namespace {

constexpr int MAX_THREADS = 256;

struct Job {
  const std::function<void(int64_t)>* work;
  int64_t tiles;
  std::atomic<int64_t> next{0};

  void run() {
    for (int64_t tile; (tile = next.fetch_add(1, std::memory_order_relaxed)) < tiles;) (*work)(tile);
  }
};

class Pool {
 public:
  std::mutex busy;  // held by the caller whose job is being done

  void run(Job& job, int helpers) {
    std::unique_lock<std::mutex> lock(state_);
    grow(helpers);
    job_ = &job;
    open_ = helpers;
    lock.unlock();
    wake_.notify_all();
    job.run();
    lock.lock();
    job_ = nullptr;  // a helper that wakes up now finds nothing to do
    done_.wait(lock, [this] { return running_ == 0; });
  }

 private:
  void grow(int helpers) {
#if !defined(_WIN32)
    sigset_t every, before;  // signals belong to the interpreter's thread
    sigfillset(&every);
    pthread_sigmask(SIG_SETMASK, &every, &before);
#endif
    try {
      for (; size_ < helpers; ++size_) std::thread(&Pool::help, this).detach();
    } catch (const std::system_error&) {  // no more threads to be had: those there are do the work
    }
#if !defined(_WIN32)
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
#endif
  }

  void help() {
    std::unique_lock<std::mutex> lock(state_);
    for (;;) {
      wake_.wait(lock, [this] { return job_ != nullptr && open_ > 0; });
      Job* job = job_;
      --open_;
      ++running_;
      lock.unlock();
      job->run();
      lock.lock();
      if (--running_ == 0) done_.notify_one();
    }
  }

  std::mutex state_;
  std::condition_variable wake_, done_;
  Job* job_ = nullptr;
  int open_ = 0, running_ = 0, size_ = 0;
};

// Never freed: its threads sleep in it until the process ends. A forked child has none of the threads, so it starts with a new pool.
std::atomic<Pool*> current{nullptr};

Pool& pool() {
#if !defined(_WIN32)
  static const int registered = pthread_atfork(nullptr, nullptr, [] { current.store(nullptr); });
  (void)registered;
#endif
  Pool* found = current.load();
  if (found == nullptr) {
    Pool* made = new Pool;
    if (current.compare_exchange_strong(found, made)) return *made;
    delete made;
  }
  return *found;
}

}  // namespace

void parallel(int64_t tiles, int threads, const std::function<void(int64_t)>& work) {
  Job job{&work, tiles};
  if (threads > MAX_THREADS) threads = MAX_THREADS;
  if (threads > tiles) threads = (int)tiles;
  if (threads > 1) {
    Pool& shared = pool();
    if (std::unique_lock<std::mutex> mine(shared.busy, std::try_to_lock); mine.owns_lock()) {
      shared.run(job, threads - 1);
      return;
    }
  }
  job.run();
}

}  // namespace slaf
