# Spinlocks, atomics, prefetch, and the counts that operations keep: what the rest is built from.
# Imports nothing.
# Used by the core and by every design with locks of its own.
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

cdef extern from *:
    """
    #ifndef SWAPTABLE_ATOMIC
    #define SWAPTABLE_ATOMIC
    #include <sched.h>
    #include <stdint.h>
    #if defined(__x86_64__) || defined(__i386__)
    #define swt_relax() __builtin_ia32_pause()
    #elif defined(__aarch64__)
    #define swt_relax() __asm__ __volatile__("yield")
    #else
    #define swt_relax() ((void)0)
    #endif
    /* Test and test-and-set; a holder that was preempted gets the CPU by our yield.
       Returns how often the lock was found taken, so that waiting can be counted. */
    static __attribute__((noinline, unused)) uint32_t spin_wait(uint8_t *lock) {
        uint32_t spins = 0;
        do {
            while (__atomic_load_n(lock, __ATOMIC_RELAXED)) {
                if (++spins < 128) swt_relax();
                else { sched_yield(); spins = 0; }
            }
        } while (__atomic_exchange_n(lock, 1, __ATOMIC_ACQUIRE));
        return 1;
    }
    static inline __attribute__((always_inline)) uint32_t spin_lock(uint8_t *lock) {
        return __builtin_expect(__atomic_exchange_n(lock, 1, __ATOMIC_ACQUIRE), 0) ? spin_wait(lock) : 0;
    }
    static inline int spin_trylock(uint8_t *lock) {
        return !__atomic_load_n(lock, __ATOMIC_RELAXED) && !__atomic_exchange_n(lock, 1, __ATOMIC_ACQUIRE);
    }
    static inline void spin_unlock(uint8_t *lock) { __atomic_store_n(lock, 0, __ATOMIC_RELEASE); }
    static inline uint64_t load_relaxed(const uint64_t *p) { return __atomic_load_n(p, __ATOMIC_RELAXED); }
    static inline uint64_t load_acquire(const uint64_t *p) { return __atomic_load_n(p, __ATOMIC_ACQUIRE); }
    static inline void store_relaxed(uint64_t *p, uint64_t v) { __atomic_store_n(p, v, __ATOMIC_RELAXED); }
    static inline uint32_t load32(const uint32_t *p) { return __atomic_load_n(p, __ATOMIC_SEQ_CST); }
    static inline void store32(uint32_t *p, uint32_t v) { __atomic_store_n(p, v, __ATOMIC_SEQ_CST); }
    static inline uint32_t peek32(const uint32_t *p) { return __atomic_load_n(p, __ATOMIC_RELAXED); }
    static inline void poke32(uint32_t *p, uint32_t v) { __atomic_store_n(p, v, __ATOMIC_RELAXED); }
    static inline uint32_t load32_acquire(const uint32_t *p) { return __atomic_load_n(p, __ATOMIC_ACQUIRE); }
    static inline void store32_release(uint32_t *p, uint32_t v) { __atomic_store_n(p, v, __ATOMIC_RELEASE); }
    static inline uint16_t load16(const uint16_t *p) { return __atomic_load_n(p, __ATOMIC_ACQUIRE); }
    static inline void store16(uint16_t *p, uint16_t v) { __atomic_store_n(p, v, __ATOMIC_RELEASE); }
    static inline int64_t add32(uint32_t *p, int32_t v) { return __atomic_add_fetch(p, v, __ATOMIC_SEQ_CST); }
    static inline int64_t load64(const int64_t *p) { return __atomic_load_n(p, __ATOMIC_SEQ_CST); }
    static inline int64_t add64(int64_t *p, int64_t v) { return __atomic_add_fetch(p, v, __ATOMIC_SEQ_CST); }
    static inline int cas64(int64_t *p, int64_t was, int64_t is) {
        return __atomic_compare_exchange_n(p, &was, is, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
    }
    static inline void *load_ptr(void *p) { return __atomic_load_n((void **)p, __ATOMIC_SEQ_CST); }
    static inline void store_ptr(void *p, void *v) { __atomic_store_n((void **)p, v, __ATOMIC_RELEASE); }
    static inline void store_ptr_sc(void *p, void *v) { __atomic_store_n((void **)p, v, __ATOMIC_SEQ_CST); }
    #define prefetch_read(p) __builtin_prefetch((const void *)(p), 0)
    #define prefetch_write(p) __builtin_prefetch((const void *)(p), 1)
    #endif
    """
    uint32_t spin_lock(uint8_t *lock) noexcept nogil
    int spin_trylock(uint8_t *lock) noexcept nogil
    void spin_unlock(uint8_t *lock) noexcept nogil
    uint64_t load_relaxed(const uint64_t *p) noexcept nogil
    uint64_t load_acquire(const uint64_t *p) noexcept nogil
    void store_relaxed(uint64_t *p, uint64_t v) noexcept nogil
    uint32_t load32(const uint32_t *p) noexcept nogil
    void store32(uint32_t *p, uint32_t v) noexcept nogil
    uint32_t peek32(const uint32_t *p) noexcept nogil
    void poke32(uint32_t *p, uint32_t v) noexcept nogil
    uint32_t load32_acquire(const uint32_t *p) noexcept nogil
    void store32_release(uint32_t *p, uint32_t v) noexcept nogil
    uint16_t load16(const uint16_t *p) noexcept nogil
    void store16(uint16_t *p, uint16_t v) noexcept nogil
    int64_t add32(uint32_t *p, int v) noexcept nogil
    int64_t load64(const int64_t *p) noexcept nogil
    int64_t add64(int64_t *p, int64_t v) noexcept nogil
    int cas64(int64_t *p, int64_t old, int64_t new) noexcept nogil
    void *load_ptr(void *p) noexcept nogil
    void store_ptr(void *p, void *v) noexcept nogil
    void store_ptr_sc(void *p, void *v) noexcept nogil
    void prefetch_read(const void *p) noexcept nogil
    void prefetch_write(const void *p) noexcept nogil
    int ctz64 "__builtin_ctzll"(uint64_t x) noexcept nogil
    int popcount64 "__builtin_popcountll"(uint64_t x) noexcept nogil
    int likely "__builtin_expect"(int x, int y) noexcept nogil

# What operations count for their caller; plain numbers, the caller's alone.
cdef struct swap_stat_t:
    # No two that are counted at the same place are neighbours: compilers would add them as one vector, and the next
    # addition of one of them alone would wait for it.
    uint64_t cluster_locks  # cluster locks taken
    uint64_t visited        # clusters that a search looked at
    uint64_t lock_waits     # how many of all locks were found taken
    uint64_t words          # table words written
    uint64_t list_locks     # a device's list lock taken
    uint64_t past           # allocations past the end
    uint64_t blocks         # blocks taken for them
    uint64_t extents        # runs of blocks that follow one another, in them
    uint64_t scanned        # words and summaries of words that searches read, those included that bring a summary up to date
