// The threads: those of torch's OpenMP where they are lent, or a persistent pool.
//
// OpenMP's threads go on spinning for a while after their work, so that beside torch's a second pool would wait for a processor. Nothing
// here is linked to an OpenMP: a second runtime in the process would oversubscribe it.
#include "pool.hpp"

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <mutex>
#include <new>
#include <system_error>
#include <thread>

#if !defined(_WIN32)
#include <pthread.h>
#include <signal.h>
#endif

namespace slaf {
namespace {

constexpr int MAX_THREADS = 256;

// Every thread begins with a run of tiles of its own, as torch's do, so that what one has written is near it in the next pass; then it helps
// the others with theirs.
struct Job {
  struct alignas(64) Share {
    std::atomic<int64_t> next;
    int64_t end;
  };

  const std::function<void(int64_t)>* work;
  int wanted;
  std::atomic<int> entered{0};
  std::atomic<bool> failed{false};
  Share shares[MAX_THREADS];

  Job(const std::function<void(int64_t)>* work, int64_t tiles, int wanted) : work(work), wanted(wanted) {
    for (int i = 0; i < wanted; ++i) shares[i].next = tiles * i / wanted, shares[i].end = tiles * (i + 1) / wanted;
  }

  void run() {
    const int own = entered.fetch_add(1, std::memory_order_relaxed);
    if (own >= wanted) return;
    try {
      for (int i = own; i < own + wanted; ++i) {
        Share& share = shares[i % wanted];
        for (int64_t tile; !failed && (tile = share.next.fetch_add(1, std::memory_order_relaxed)) < share.end;) (*work)(tile);
      }
    } catch (const std::bad_alloc&) {  // the others still use the job: it is thrown when they have finished
      failed = true;
    }
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

// Never freed: its threads sleep in it until the process ends.
std::atomic<Pool*> current{nullptr};
std::atomic<GompParallel*> lent{nullptr};

// A forked child has no threads but its own, and OpenMP would wait there for those of its parent for ever.
void forget_when_forked() {
#if !defined(_WIN32)
  static const int registered = pthread_atfork(nullptr, nullptr, [] { current = nullptr, lent = nullptr; });
  (void)registered;
#endif
}

Pool& pool() {
  forget_when_forked();
  Pool* found = current.load();
  if (found == nullptr) {
    Pool* made = new Pool;
    if (current.compare_exchange_strong(found, made)) return *made;
    delete made;
  }
  return *found;
}

void run(Job& job, int team) {
  if (GompParallel* openmp = job.wanted > 1 ? lent.load() : nullptr) {
    openmp([](void* data) { static_cast<Job*>(data)->run(); }, &job, (unsigned)team, 0);
    return;
  }
  if (job.wanted > 1) {
    Pool& shared = pool();
    if (std::unique_lock<std::mutex> mine(shared.busy, std::try_to_lock); mine.owns_lock()) {
      shared.run(job, job.wanted - 1);
      return;
    }
  }
  job.run();
}

}  // namespace

void borrow(GompParallel* parallel) {
  forget_when_forked();
  lent = parallel;
}

bool borrowed() { return lent != nullptr; }

void parallel(int64_t tiles, int wanted, int team, const std::function<void(int64_t)>& work) {
  Job job(&work, tiles, (int)std::min<int64_t>({tiles, wanted, MAX_THREADS}));
  run(job, team);
  if (job.failed) throw std::bad_alloc();
}

}  // namespace slaf
