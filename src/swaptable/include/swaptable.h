/* swaptable for C and C++: a versioned table of functions, taken once from Python and called without it.
 * Includes <stddef.h> and <stdint.h>, and <Python.h> unless SWAPTABLE_NO_PYTHON is defined. C11; C++17 as it is.
 * Used by embedders; _capi.pyx fills the table. MIT.
 *
 *     const swaptable_api *api = swaptable_import(SWAPTABLE_ABI_VERSION);      // once, with the GIL
 *     swaptable_options options = SWAPTABLE_OPTIONS;
 *     swaptable_table *table;
 *     int err = api->create(&options, &table);
 *     err = api->alloc(table, 4, 0, pfn, memcg, &slot, &stat);                 // from any thread, with or without the GIL
 *     api->close(table);
 *
 * Results. int functions return 0 or a negative errno, and one that fails has changed nothing:
 *   -ENOENT not in use, or no such user; -EEXIST in the swap cache already; -ENOSPC no room at this order;
 *   -ESTALE the location is not the one given; -EBUSY the slot's own block is lent; -EOVERFLOW more than 2^32 - 1 users;
 *   -ENOMEM no memory; -EINVAL the caller's mistake: an order, cpu, nr or slot out of range, a value that does not fit.
 * The _many functions stop at their first bad element with its error; *done (may be NULL) is how many were done, and
 * they stay done.
 *
 * Threads. Functions marked [GIL] take the GIL themselves, whether the caller has it or not; all others neither take nor
 * want it. Every function may be called from any thread at any time, but for check() and set_reclaim(), which want the
 * others to be still, and close(), after which nobody may use the handle. Functions take the locks that they need and hold none when they
 * return: at most a CPU's cursor, one cluster, one device's lists, in this order. Hence the caller may hold locks of its
 * own, unless the table has a reclaim callback in Python (SwapTable.set_reclaim): then alloc() may take the GIL.
 * A thread that takes the GIL must not hold a lock that another waits for with the GIL held. Threads that allocate should
 * name different cpus. Readers (word, words, locs, resolve) take no lock at all.
 * A handle is no use after Py_Finalize(), nor in another interpreter of the same process.
 *
 * Versions. New functions are added at the end and raise abi_version; none is removed, moved or changed. A program that
 * was built for version n runs with every module of version n or above; swaptable_import() refuses one below.
 */
#ifndef SWAPTABLE_H
#define SWAPTABLE_H

#ifndef SWAPTABLE_NO_PYTHON
#include <Python.h>
#endif
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define SWAPTABLE_ABI_VERSION 2u
#define SWAPTABLE_CAPSULE "swaptable._C_API"

#define SWAPTABLE_CLUSTER_SLOTS 512 /* a run of slots lies in one cluster: order 0 to 9, nr 1 to 512 */
#define SWAPTABLE_MAX_ORDER 9

struct _object; /* PyObject */

/* A table, or rather a reference to one: it keeps the SwapTable object alive until close(). */
typedef struct swaptable_table swaptable_table;

/* What a table is made of; start with SWAPTABLE_OPTIONS, which has the defaults of SwapTable(). */
typedef struct swaptable_options {
    uint32_t struct_size; /* sizeof(swaptable_options) */
    int32_t cpus;         /* allocation cursors, 1 to 8192 */
    uint64_t slots;       /* 1 to 2^32 - 1; 0: a ghost, a front end without blocks of its own that grows as it is used */
    uint32_t flags;
    uint32_t reserved;
} swaptable_options;

#define SWAPTABLE_NO_HEADER 1u    /* slot 0 is no header page */
#define SWAPTABLE_NO_BLOCK_DEV 2u /* not a block device: order 0 only */
#define SWAPTABLE_ROTATIONAL 4u   /* one cursor per order for all CPUs */
#define SWAPTABLE_DISCARD 8u      /* emptied clusters wait for SwapTable.run_discard() */
#define SWAPTABLE_OWNERS 16u      /* keep the owner of each block that is located: 4 bytes a block */

/* The same initializer in C and C++, which has designated ones only from C++20 on. */
#define SWAPTABLE_OPTIONS {(uint32_t)sizeof(swaptable_options), 1, 262144u, 0u, 0u}

/* What functions count for their caller, on top of what is there: the caller's alone, one for each thread. NULL: no counts. */
typedef struct swaptable_stat {
    uint64_t cluster_locks; /* cluster locks taken */
    uint64_t visited;       /* clusters that a search looked at */
    uint64_t lock_waits;    /* how many of all locks were found taken */
    uint64_t words;         /* table words written */
    uint64_t list_locks;    /* a device's list lock taken */
    uint64_t past;          /* allocations past the end */
    uint64_t blocks;        /* blocks taken for them */
    uint64_t extents;       /* runs of blocks that follow one another, in them */
    uint64_t scanned;       /* words and summaries of words that searches read */
    uint64_t reserved[7];   /* for counts to come: leave 128 bytes */
} swaptable_stat;

/* Kinds of words. */
enum {
    SWAPTABLE_NULL = 0,    /* free */
    SWAPTABLE_SHADOW = 1,  /* swapped out, not cached */
    SWAPTABLE_FOLIO = 2,   /* in the swap cache */
    SWAPTABLE_POINTER = 3, /* reverse map; never in a SwapTable */
    SWAPTABLE_LENT = 4,    /* free, but its block serves another slot */
    SWAPTABLE_BAD = 5,     /* header, bad pages, past the end */
    SWAPTABLE_INVALID = 6  /* no word of the layout */
};

/* Asks the owner of the folio at pfn, which holds nr slots from slot on; nonzero lets the table free them. It is called
 * without any lock held, by the thread that allocates, and may call the table. Under pfn 0 each slot is asked for alone. */
typedef int (*swaptable_reclaim)(void *arg, int64_t slot, int nr, uint64_t pfn);

typedef struct swaptable_api {
    uint32_t abi_version; /* of the module */
    uint32_t struct_size; /* bytes of the module's table */

    /* ---- tables ---- */

    /* [GIL] A new table. -EINVAL, -ENOMEM. */
    int (*create)(const swaptable_options *options, swaptable_table **table);
    /* [GIL] A handle of a SwapTable that Python made; the object stays alive until close(). -EINVAL: it is no SwapTable. */
    int (*open)(struct _object *object, swaptable_table **table);
    /* The caller has the GIL. A new reference to the SwapTable object: usage(), memory(), set_reclaim(), resize(), ... */
    struct _object *(*object)(swaptable_table *table);
    /* [GIL] Give the handle back; the table goes too, unless Python or another handle has it. NULL is no error. */
    void (*close)(swaptable_table *table);
    /* [GIL] Rebuild every invariant from the words. 0, or -EUCLEAN and the reason in why (size bytes, ends in 0; or NULL). */
    int (*check)(swaptable_table *table, char *why, size_t size);

    /* ---- slots: runs of 1 << order, or of nr, that lie in one cluster ---- */

    /* An aligned run in the swap cache, count 0: its first slot. The words get pfn (41 bits) and memcg (16 bits). */
    int (*alloc)(swaptable_table *table, int order, int cpu, uint64_t pfn, uint32_t memcg, int64_t *slot, swaptable_stat *stat);
    /* The same; where that fails, slots past the end of the device (2^32 and up), located at blocks wherever they are free. */
    int (*alloc_contiguous)(swaptable_table *table, int order, int cpu, uint64_t pfn, uint32_t memcg, int64_t *slot,
                            swaptable_stat *stat);
    /* n runs, their first slots in slots; pfns: one a run, or NULL. *done < n and -ENOSPC: the table is full at that order. */
    int (*alloc_many)(swaptable_table *table, int64_t n, int order, int cpu, const uint64_t *pfns, uint32_t memcg, int contiguous,
                      int64_t *slots, int64_t *done, swaptable_stat *stat);
    /* Whoever holds the slots gives them up, whatever their count. */
    int (*free_slots)(swaptable_table *table, int64_t slot, int nr, swaptable_stat *stat);
    int (*free_many)(swaptable_table *table, const int64_t *slots, int64_t n, int nr, int64_t *done, swaptable_stat *stat);
    /* One user more; one less: a slot without users that is not cached is free. */
    int (*dup)(swaptable_table *table, int64_t slot, int nr, swaptable_stat *stat);
    int (*dup_many)(swaptable_table *table, const int64_t *slots, int64_t n, int nr, int64_t *done, swaptable_stat *stat);
    int (*put)(swaptable_table *table, int64_t slot, int nr, swaptable_stat *stat);
    int (*put_many)(swaptable_table *table, const int64_t *slots, int64_t n, int nr, int64_t *done, swaptable_stat *stat);
    /* Into the swap cache, under folio pfn; the words replaced, nr a run, go to old (or NULL). */
    int (*cache_add)(swaptable_table *table, int64_t slot, int nr, uint64_t pfn, uint64_t *old, swaptable_stat *stat);
    int (*cache_add_many)(swaptable_table *table, const int64_t *slots, int64_t n, int nr, const uint64_t *pfns, uint64_t *old,
                          int64_t *done, swaptable_stat *stat);
    /* Out of the swap cache, leaving a shadow (42 bits; of a run, NULL: 0); a slot without users is free. */
    int (*cache_del)(swaptable_table *table, int64_t slot, int nr, uint64_t shadow, swaptable_stat *stat);
    int (*cache_del_many)(swaptable_table *table, const int64_t *slots, int64_t n, int nr, const uint64_t *shadows, int64_t *done,
                          swaptable_stat *stat);
    /* The folio's data is written: its slots, which are cached, are no pages of zeros. */
    int (*writeout)(swaptable_table *table, int64_t slot, int nr, swaptable_stat *stat);
    /* The page is all zeros: no data anywhere; or no longer. */
    int (*zero_set)(swaptable_table *table, int64_t slot, int nr, swaptable_stat *stat);
    int (*zero_clear)(swaptable_table *table, int64_t slot, int nr, swaptable_stat *stat);

    /* ---- look-up, without locks ---- */

    /* The word of a slot; 0 for one that is free or out of range. */
    uint64_t (*word)(swaptable_table *table, int64_t slot);
    /* Many words; -EINVAL at the first slot out of range. */
    int (*words)(swaptable_table *table, const int64_t *slots, int64_t n, uint64_t *out, int64_t *done);
    /* Exact number of users, beyond what a word can say; takes the cluster's lock where that is 15 or more. */
    int (*users)(swaptable_table *table, int64_t slot, uint64_t *users, swaptable_stat *stat);
    /* Words decoded. count: 15 means at least 15, users() knows. pfn of FOLIO, shadow of SHADOW, memcg and zero of both. */
    int (*kind)(uint64_t word);
    uint32_t (*count)(uint64_t word);
    int (*zero)(uint64_t word);
    uint32_t (*memcg)(uint64_t word);
    uint64_t (*pfn)(uint64_t word);
    uint64_t (*shadow)(uint64_t word);

    /* ---- where the data is ---- */

    /* Location of a slot, 0 for none or out of range. */
    uint32_t (*loc)(swaptable_table *table, int64_t slot);
    /* Location of each slot, a block of the flat space of 2^32; 0: none, the data is in the block of the slot's number. */
    int (*locs)(swaptable_table *table, const int64_t *slots, int64_t n, uint32_t *out, int64_t *done);
    /* Member of the block space and block, or -1 twice where there is no data. A hint, unless the slot is cached (pinned). */
    int (*resolve)(swaptable_table *table, int64_t slot, int32_t *device, int64_t *block);
    int (*resolve_many)(swaptable_table *table, const int64_t *slots, int64_t n, int32_t *devices, int64_t *blocks, int64_t *done);
    /* Compare and set the location of a slot that the caller has in the swap cache. The caller took the new block and gives
     * the old one back. */
    int (*move)(swaptable_table *table, int64_t slot, uint32_t old_loc, uint32_t new_loc, swaptable_stat *stat);
    /* Take up to n free blocks of this device for slots to be located there, ascending; *done of them, -ENOSPC: fewer. */
    int (*block_alloc)(swaptable_table *table, int64_t n, uint32_t *locs, int64_t *done, swaptable_stat *stat);
    /* Give back blocks of the table's space that are the caller's: nobody's location. */
    int (*block_free)(swaptable_table *table, const uint32_t *locs, int64_t n, int64_t *done, swaptable_stat *stat);
    /* Which slot of which member a block serves by its location; -ENOENT: owners are not kept, or it serves its own slot. */
    int (*owner)(swaptable_table *table, int64_t block, int32_t *member, int64_t *slot, swaptable_stat *stat);

    /* ---- the table as a whole ---- */

    int64_t (*used)(swaptable_table *table);        /* slots in use, past the end too */
    int64_t (*usable)(swaptable_table *table);      /* blocks that are not bad; of a ghost, slots */
    int64_t (*blocks_used)(swaptable_table *table); /* blocks of the device in use; of a ghost, slots */
    uint64_t (*bytes)(swaptable_table *table);      /* memory of the table, counted where it is allocated */
    /* The first slot of the next cluster with words, from that of slot on; those past the end come last, then -1. */
    int64_t (*next)(swaptable_table *table, int64_t slot);
    /* Pack those of n clusters from that of slot on whose slots were all swapped out min_age before now or earlier, in the
     * unit of shadows: 3 bytes or 1 byte a slot. How many. */
    uint64_t (*compact)(swaptable_table *table, int64_t slot, int64_t n, uint64_t now, uint64_t min_age, swaptable_stat *stat);
    /* Return the memory of what no cluster uses to the system. */
    void (*trim)(swaptable_table *table);
    /* ---- since version 2 ---- */

    /* Have reclaim asked, once more than half of all swap is used, for slots that only the swap cache holds; NULL: nobody is.
     * In the place of what Python's set_reclaim() named. No other thread uses the table meanwhile. */
    void (*set_reclaim)(swaptable_table *table, swaptable_reclaim reclaim, void *arg);
} swaptable_api;

/* Has the module this function? For one that was added after the version that swaptable_import() was asked for. */
#define SWAPTABLE_HAS(api, function) \
    ((api)->struct_size >= offsetof(swaptable_api, function) + sizeof(((swaptable_api *)0)->function))

#ifndef SWAPTABLE_NO_PYTHON
/* The function table of the installed module, or NULL with a Python exception set. The caller has the GIL.
 * Lower versions than min_version are refused; SWAPTABLE_ABI_VERSION wants all that this header declares. The table is
 * static: it stays where it is until Py_Finalize(). */
static inline const swaptable_api *swaptable_import(uint32_t min_version) {
    const swaptable_api *api;
    PyObject *module = PyImport_ImportModule("swaptable"); /* says why it cannot be imported; PyCapsule_Import() does not */
    if (module == NULL) return NULL;
    Py_DECREF(module);
    api = (const swaptable_api *)PyCapsule_Import(SWAPTABLE_CAPSULE, 0);
    if (api == NULL) return NULL;
    if (api->abi_version < min_version) {
        PyErr_Format(PyExc_ImportError,
                     "swaptable: this program needs version %u of the function table, the installed module has version %u; "
                     "install a newer swaptable",
                     (unsigned)min_version, (unsigned)api->abi_version);
        return NULL;
    }
    if (min_version >= SWAPTABLE_ABI_VERSION && api->struct_size < sizeof(swaptable_api)) {
        PyErr_Format(PyExc_ImportError,
                     "swaptable: this program needs a function table of %zu bytes, that of the installed module has %u; "
                     "build the program with the header of the installed swaptable (swaptable.get_include())",
                     sizeof(swaptable_api), (unsigned)api->struct_size);
        return NULL;
    }
    return api;
}
#endif

#ifdef __cplusplus
}
#endif
#endif
