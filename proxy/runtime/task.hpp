// Coroutines of the data threads: Task<T> is awaited once by its caller, spawn() starts one that
// nobody awaits. No scheduler, no executor: a coroutine runs until it awaits Readiness.
#pragma once

#include <coroutine>
#include <cstddef>
#include <exception>
#include <new>
#include <optional>
#include <utility>

#include "tls/free_lists.hpp"

namespace kubelane::runtime {

// Frames come and go with each request: they are recycled per thread.
struct PooledFrame {
  static void* operator new(std::size_t bytes) {
    void* const memory = tls::pooled_allocate(bytes);
    if (memory == nullptr) throw std::bad_alloc();
    return memory;
  }
  static void operator delete(void* frame) noexcept { tls::pooled_free(frame); }
};

// Owns: the coroutine frame. Starts when awaited. An exception that leaves the coroutine is a bug
// on the data path and ends the process.
template <class T>
class [[nodiscard]] Task {
 public:
  struct promise_type : PooledFrame {
    Task get_return_object() noexcept {
      return Task(std::coroutine_handle<promise_type>::from_promise(*this));
    }
    std::suspend_always initial_suspend() noexcept { return {}; }
    struct Final {
      bool await_ready() noexcept { return false; }
      std::coroutine_handle<> await_suspend(std::coroutine_handle<promise_type> self) noexcept {
        return self.promise().caller;
      }
      void await_resume() noexcept {}
    };
    Final final_suspend() noexcept { return {}; }
    template <class U>
    void return_value(U&& result) {
      value.emplace(std::forward<U>(result));
    }
    void unhandled_exception() noexcept { std::terminate(); }

    std::coroutine_handle<> caller;
    std::optional<T> value;
  };

  Task(Task&& other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
  Task& operator=(Task&&) = delete;
  ~Task() {
    if (handle_) handle_.destroy();
  }

  bool await_ready() const noexcept { return false; }
  std::coroutine_handle<> await_suspend(std::coroutine_handle<> caller) noexcept {
    handle_.promise().caller = caller;
    return handle_;
  }
  T await_resume() { return std::move(*handle_.promise().value); }

 private:
  explicit Task(std::coroutine_handle<promise_type> handle) noexcept : handle_(handle) {}
  std::coroutine_handle<promise_type> handle_;
};

// A coroutine that runs by itself and frees its frame at its end.
struct Detached {
  struct promise_type : PooledFrame {
    Detached get_return_object() noexcept { return {}; }
    std::suspend_never initial_suspend() noexcept { return {}; }
    std::suspend_never final_suspend() noexcept { return {}; }
    void return_void() noexcept {}
    void unhandled_exception() noexcept { std::terminate(); }
  };
};

// co_await OwnFrame{}: the handle of the coroutine itself, without suspending.
struct OwnFrame {
  std::coroutine_handle<> frame;
  bool await_ready() const noexcept { return false; }
  bool await_suspend(std::coroutine_handle<> self) noexcept {
    frame = self;
    return false;
  }
  std::coroutine_handle<> await_resume() const noexcept { return frame; }
};

}  // namespace kubelane::runtime
