/* A client in C11, and in C++17: every function of the table, on tables of Python's and of its own, from its own threads.
 * Includes the installed header, as an embedder would.
 * Used by tests/test_capi.py, which compiles it both ways.
 */
#include <swaptable.h>

#include <errno.h>
#include <pthread.h>
#include <string.h>

static const swaptable_api *api;

/* A tour ends at its first unmet expectation, and returns its line. */
#define EXPECT(what) do { if (!(what)) { line = __LINE__; goto out; } } while (0)

/* One folio of 4 slots from its allocation to its end. */
static int life(swaptable_table *table, int cpu, uint64_t pfn, swaptable_stat *stat) {
    int line = 0;
    int64_t slot = -1, done = 9;
    uint64_t word, users = 0, old[4];
    EXPECT(api->alloc(table, 2, cpu, pfn, 9, &slot, stat) == 0 && slot % 4 == 0);
    word = api->word(table, slot + 3);
    EXPECT(api->kind(word) == SWAPTABLE_FOLIO && api->pfn(word) == pfn && api->memcg(word) == 9 && api->count(word) == 0);
    EXPECT(api->shadow(word) == 0 && !api->zero(word));
    EXPECT(api->writeout(table, slot, 4, stat) == 0);
    EXPECT(api->dup(table, slot, 4, stat) == 0 && api->cache_del(table, slot, 4, 77, stat) == 0);
    word = api->word(table, slot);
    EXPECT(api->kind(word) == SWAPTABLE_SHADOW && api->shadow(word) == 77 && api->count(word) == 1 && api->pfn(word) == 0);
    EXPECT(api->cache_add(table, slot, 4, pfn, old, stat) == 0 && old[0] == word && old[3] == word);
    EXPECT(api->cache_add(table, slot, 4, pfn, NULL, stat) == -EEXIST);
    EXPECT(api->zero_set(table, slot, 4, stat) == 0 && api->zero(api->word(table, slot + 1)));
    EXPECT(api->zero_clear(table, slot, 4, stat) == 0 && !api->zero(api->word(table, slot + 1)));
    EXPECT(api->users(table, slot, &users, stat) == 0 && users == 1);
    EXPECT(api->put(table, slot, 4, stat) == 0 && api->kind(api->word(table, slot)) == SWAPTABLE_FOLIO);
    EXPECT(api->put(table, slot, 1, stat) == -ENOENT);
    EXPECT(api->cache_del(table, slot, 1, 0, stat) == 0 && api->word(table, slot) == 0);
    EXPECT(api->put(table, slot, 1, stat) == -ENOENT && api->free_slots(table, slot, 4, stat) == -ENOENT);
    EXPECT(api->free_slots(table, slot + 1, 3, stat) == 0);
    EXPECT(api->dup_many(table, &slot, 1, 1, &done, stat) == -ENOENT && done == 0);
out:
    return line;
}

/* Batches, an error in the midst of each. */
static int batches(swaptable_table *table) {
    int line = 0;
    swaptable_stat stat;
    int64_t slots[8] = {0}, done = -1, k;
    const int64_t wrong = INT64_C(1) << 40;
    const uint64_t pfns[8] = {1, 2, 3, 4, 5, 6, 7, 8}, large[8] = {1, 2, (uint64_t)-1, 4, 5, 6, 7, 8};
    uint64_t words[8], users;
    memset(&stat, 0, sizeof stat);
    EXPECT(api->alloc_many(table, 8, 0, 0, large, 3, 0, slots, &done, &stat) == -EINVAL && done == 0 && stat.words == 0);
    EXPECT(api->alloc_many(table, 8, 0, 0, pfns, 3, 0, slots, &done, &stat) == 0 && done == 8 && stat.words == 8);
    EXPECT(api->alloc_many(table, 0, 0, 0, NULL, 3, 0, NULL, &done, NULL) == 0 && done == 0);
    EXPECT(api->words(table, slots, 8, words, &done) == 0 && done == 8);
    for (k = 0; k < 8; k++) EXPECT(api->pfn(words[k]) == pfns[k] && api->memcg(words[k]) == 3);
    EXPECT(api->words(table, &wrong, 1, words, &done) == -EINVAL && done == 0);
    EXPECT(api->dup_many(table, slots, 8, 1, NULL, NULL) == 0);
    EXPECT(api->cache_del_many(table, slots, 8, 1, large, &done, NULL) == -EINVAL && done == 2);
    EXPECT(api->cache_del_many(table, slots, 8, 1, pfns, &done, NULL) == -ENOENT && done == 0);
    EXPECT(api->cache_del_many(table, slots + 2, 6, 1, pfns + 2, &done, NULL) == 0 && done == 6);
    EXPECT(api->shadow(api->word(table, slots[7])) == 8);
    EXPECT(api->cache_add_many(table, slots, 8, 1, pfns, words, &done, NULL) == 0 && done == 8 && api->shadow(words[7]) == 8);
    EXPECT(api->put_many(table, slots, 8, 1, &done, NULL) == 0 && api->put_many(table, slots, 8, 1, &done, NULL) == -ENOENT);
    for (k = 0; k < 20; k++) EXPECT(api->dup(table, slots[5], 1, NULL) == 0);
    EXPECT(api->count(api->word(table, slots[5])) == 15);
    EXPECT(api->users(table, slots[5], &users, &stat) == 0 && users == 20);
    EXPECT(api->users(table, wrong, &users, NULL) == -EINVAL && api->users(table, -1, &users, NULL) == -EINVAL);
    EXPECT(api->free_many(table, slots, 8, 1, &done, NULL) == 0 && done == 8 && api->used(table) == 0);
    EXPECT(api->free_many(table, slots, -1, 1, &done, NULL) == -EINVAL && done == 0);
out:
    return line;
}

/* Where data is: blocks of this table, wherever they are, and slots past its end. */
static int places(swaptable_table *table, int owners) {
    int line = 0, err;
    uint64_t before;
    swaptable_stat stat;
    const int64_t usable = api->usable(table);
    int64_t slot, past, done = -1, block, blocks[4], four[4];
    int32_t device, devices[4];
    uint32_t locs[4], one;
    const int64_t all = 1023;
    static int64_t slots[1023];
    memset(&stat, 0, sizeof stat);
    EXPECT(usable == all && api->alloc_many(table, all, 0, 0, NULL, 0, 0, slots, &done, NULL) == 0 && done == all);
    EXPECT(api->alloc(table, 0, 0, 0, 0, &slot, NULL) == -ENOSPC);
    for (slot = 1; slot < 9; slot += 2) EXPECT(api->free_slots(table, slot, 1, NULL) == 0);
    EXPECT(api->alloc(table, 2, 0, 0, 0, &slot, NULL) == -ENOSPC);
    EXPECT(api->alloc_contiguous(table, 2, 0, 0, 0, &past, NULL) == 0 && past >> 32 == 1);
    for (slot = 0; slot < 4; slot++) four[slot] = past + slot;
    EXPECT(api->resolve_many(table, four, 4, devices, blocks, &done) == 0 && done == 4 && blocks[0] == 1 && blocks[3] == 7);
    EXPECT(api->kind(api->word(table, 3)) == SWAPTABLE_LENT);
    EXPECT(api->locs(table, four, 4, locs, &done) == 0 && done == 4 && locs[0] != 0);
    EXPECT(api->free_slots(table, 100, 1, NULL) == 0);
    EXPECT(api->block_alloc(table, 1, &one, &done, &stat) == 0 && done == 1 && api->blocks_used(table) == all);
    EXPECT(api->move(table, past, 0, one, NULL) == -ESTALE && api->move(table, past, locs[0], one, NULL) == 0);
    EXPECT(api->resolve(table, past, &device, &block) == 0 && device == devices[0] && block == 100);
    EXPECT(api->loc(table, past) == one && api->loc(table, 2) == 0 && api->loc(table, -1) == 0);
    EXPECT(api->block_free(table, locs, 1, NULL, NULL) == 0 && api->block_free(table, locs, 1, &done, NULL) == -ENOENT && done == 0);
    EXPECT(api->block_alloc(table, 2, locs, &done, NULL) == -ENOSPC && done == 1 && api->block_free(table, locs, 1, &done, NULL) == 0);
    EXPECT(api->block_alloc(table, -1, locs, &done, NULL) == -EINVAL && api->block_free(table, locs, -1, &done, NULL) == -EINVAL);
    device = -7;
    err = api->owner(table, 100, &device, &slot, NULL);
    EXPECT(owners ? err == 0 && slot == past && device == devices[0] : err == -ENOENT);
    EXPECT(api->next(table, 5) == 0 && api->next(table, 600) == 512 && api->next(table, 1024) == past && api->next(table, past + 512) == -1);
    EXPECT(api->resolve(table, -1, &device, &block) == -EINVAL);
    EXPECT(api->free_slots(table, past, 4, NULL) == 0);
    for (slot = 512; slot < 1024; slot++) EXPECT(api->dup(table, slot, 1, NULL) == 0 && api->cache_del(table, slot, 1, 3, NULL) == 0);
    EXPECT(api->compact(table, 0, 2, 100, 98, &stat) == 0 && api->compact(table, 0, 2, 100, 97, &stat) == 1);
    before = api->bytes(table);
    api->trim(table);
    EXPECT(api->bytes(table) < before && api->shadow(api->word(table, 700)) == 3);
out:
    return line;
}

/* Who has a folio in the swap cache lets go of it if its number is even. */
static int even(void *arg, int64_t slot, int nr, uint64_t pfn) {
    ++*(int *)arg;
    return slot >= 0 && nr == 1 && pfn % 2 == 0;
}

/* Lets go, and wants to be asked no more. */
static swaptable_table *leaving;
static int once(void *arg, int64_t slot, int nr, uint64_t pfn) {
    (void)slot, (void)nr, (void)pfn;
    api->set_reclaim(leaving, NULL, NULL);
    return ++*(int *)arg;
}

static int asked(void) {
    int line = 0, calls = 0;
    int64_t slot, slots[1024], done;
    uint64_t pfns[1024];
    swaptable_table *full = NULL;
    swaptable_options options = SWAPTABLE_OPTIONS;
    options.slots = 1024;
    options.flags = SWAPTABLE_NO_HEADER;
    for (int k = 0; k < 1024; k++) pfns[k] = (uint64_t)k + 1;
    EXPECT(api->create(&options, &full) == 0);
    EXPECT(api->alloc_many(full, 1024, 0, 0, pfns, 0, 0, slots, &done, NULL) == 0 && done == 1024);
    EXPECT(api->alloc(full, 0, 0, 9, 0, &slot, NULL) == -ENOSPC);
    api->set_reclaim(full, even, &calls);
    EXPECT(api->alloc(full, 0, 0, 9, 0, &slot, NULL) == 0 && calls > 0 && api->pfn(api->word(full, slot)) == 9);
    EXPECT(api->pfn(api->word(full, 0)) == 1 && api->used(full) <= 1024); /* an odd one stays */
    api->set_reclaim(full, NULL, NULL);
    for (calls = 0; api->alloc(full, 0, 0, 1, 0, &slot, NULL) == 0;) {}
    EXPECT(calls == 0 && api->used(full) == 1024);
    leaving = full;
    api->set_reclaim(full, once, &calls);
    EXPECT(api->alloc(full, 0, 0, 9, 0, &slot, NULL) == 0 && calls == 1);
    EXPECT(api->alloc(full, 0, 0, 9, 0, &slot, NULL) == -ENOSPC && calls == 1 && api->check(full, NULL, 0) == 0);
out:
    api->close(full);
    return line;
}

/* What a caller can do wrong. Nothing of it may change the table. */
static int mistakes(swaptable_table *table) {
    int line = 0;
    int64_t slot = -5;
    swaptable_table *none = NULL;
    swaptable_options options = SWAPTABLE_OPTIONS;
    struct { swaptable_options known; uint64_t unknown; } later = {SWAPTABLE_OPTIONS, 0};
    EXPECT(api->alloc(table, 10, 0, 0, 0, &slot, NULL) == -EINVAL && api->alloc(table, -1, 0, 0, 0, &slot, NULL) == -EINVAL);
    EXPECT(api->alloc(table, 0, 64, 0, 0, &slot, NULL) == -EINVAL && api->alloc(table, 0, -1, 0, 0, &slot, NULL) == -EINVAL);
    EXPECT(api->alloc(table, 0, 0, UINT64_C(1) << 41, 0, &slot, NULL) == -EINVAL);
    EXPECT(api->alloc(table, 0, 0, 0, 65536, &slot, NULL) == -EINVAL && slot == -5);
    EXPECT(api->dup(table, 0, 0, NULL) == -EINVAL && api->put(table, -1, 1, NULL) == -EINVAL);
    EXPECT(api->dup(table, 510, 4, NULL) == -EINVAL && api->free_slots(table, 1, 513, NULL) == -EINVAL);
    EXPECT(api->word(table, -1) == 0 && api->kind(api->word(table, 0)) == SWAPTABLE_BAD);
    options.struct_size = 4;
    EXPECT(api->create(&options, &none) == -EINVAL && api->create(NULL, &none) == -EINVAL);
    options.struct_size = sizeof options;
    options.cpus = 0;
    EXPECT(api->create(&options, &none) == -EINVAL);
    options.cpus = 1;
    options.flags = 1u << 31;
    EXPECT(api->create(&options, &none) == -EINVAL && none == NULL);
    later.known.struct_size = sizeof later;
    EXPECT(api->create(&later.known, &none) == 0);
    api->close(none);
    later.unknown = 1;
    EXPECT(api->create(&later.known, &none) == -E2BIG);
    EXPECT(api->open(NULL, &none) == -EINVAL && api->open(Py_None, &none) == -EINVAL);
    api->close(NULL);
out:
    return line;
}

static PyObject *tour(PyObject *self, PyObject *args) {
    (void)self;
    PyObject *object;
    int line = 0, owners;
    char why[200] = "";
    swaptable_stat stat;
    swaptable_table *table = NULL;
    memset(&stat, 0, sizeof stat);
    if (!PyArg_ParseTuple(args, "Oi", &object, &owners)) return NULL;
    EXPECT(api->open(object, &table) == 0);
    if ((line = life(table, 0, 5, &stat)) || (line = batches(table)) || (line = mistakes(table)) || (line = places(table, owners)) || (line = asked())) goto out;
    EXPECT(stat.words > 20 && stat.cluster_locks > 5);
    EXPECT(api->bytes(table) > 4096 && api->check(table, why, sizeof why) == 0 && why[0] == 0);
out:
    api->close(table);
    return PyLong_FromLong(line);
}

static PyObject *make(PyObject *self, PyObject *args) {
    (void)self;
    swaptable_options options = SWAPTABLE_OPTIONS;
    swaptable_table *table = NULL;
    PyObject *object;
    unsigned long long slots;
    int err;
    if (!PyArg_ParseTuple(args, "KiI", &slots, &options.cpus, &options.flags)) return NULL;
    options.slots = slots;
    err = api->create(&options, &table);
    if (err) return PyLong_FromLong(err);
    object = api->object(table);
    api->close(table); /* Python has it now */
    return object;
}

/* A handle that outlives what Python has of the table. */
static PyObject *keep(PyObject *self, PyObject *object) {
    (void)self;
    swaptable_table *table = NULL;
    int64_t slot;
    if (api->open(object, &table) || api->alloc(table, 0, 0, 0, 0, &slot, NULL)) return PyLong_FromLong(-1);
    return PyCapsule_New(table, "kept", NULL);
}

static PyObject *used_of_kept(PyObject *self, PyObject *capsule) {
    (void)self;
    swaptable_table *table = (swaptable_table *)PyCapsule_GetPointer(capsule, "kept");
    int64_t used = api->used(table);
    api->close(table);
    return PyLong_FromLongLong(used);
}

/* What a check says that finds something. */
static PyObject *reason(PyObject *self, PyObject *object) {
    (void)self;
    char why[16];
    int err, none;
    swaptable_table *table = NULL;
    if (api->open(object, &table)) return PyLong_FromLong(-1);
    err = api->check(table, why, sizeof why);
    none = api->check(table, NULL, 0);
    api->close(table);
    return Py_BuildValue("iis", err, none, why);
}

typedef struct {
    swaptable_table *table;
    int cpu, n, line;
} work;

static void *run(void *arg) {
    work *w = (work *)arg;
    swaptable_stat stat;
    swaptable_table *own = NULL;
    swaptable_options options = SWAPTABLE_OPTIONS;
    memset(&stat, 0, sizeof stat);
    /* A thread that Python has never seen may make a table: that takes the GIL. */
    if (api->create(&options, &own)) w->line = __LINE__;
    for (int i = 0; i < w->n && !w->line; i++) w->line = life(i % 100 ? w->table : own, i % 100 ? w->cpu : 0, (uint64_t)i, &stat);
    api->close(own);
    return NULL;
}

/* Threads of C's own, while this one has let go of the GIL. */
static PyObject *lives(PyObject *self, PyObject *args) {
    (void)self;
    PyObject *object;
    int n, line = 0;
    work w[2];
    pthread_t threads[2];
    swaptable_table *table = NULL;
    if (!PyArg_ParseTuple(args, "Oi", &object, &n) || api->open(object, &table)) return NULL;
    Py_BEGIN_ALLOW_THREADS
    for (int k = 0; k < 2; k++) {
        w[k].table = table, w[k].cpu = k, w[k].n = n, w[k].line = 0;
        pthread_create(&threads[k], NULL, run, &w[k]);
    }
    for (int k = 0; k < 2; k++) {
        pthread_join(threads[k], NULL);
        line = line ? line : w[k].line;
    }
    Py_END_ALLOW_THREADS
    api->close(table);
    return PyLong_FromLong(line);
}

static PyObject *version(PyObject *self, PyObject *none) {
    (void)self, (void)none;
    return Py_BuildValue("IIni", api->abi_version, api->struct_size, (Py_ssize_t)sizeof(swaptable_api), SWAPTABLE_HAS(api, set_reclaim));
}

static PyMethodDef methods[] = {
    {"tour", tour, METH_VARARGS, NULL},   {"make", make, METH_VARARGS, NULL},     {"keep", keep, METH_O, NULL},
    {"used_of_kept", used_of_kept, METH_O, NULL}, {"lives", lives, METH_VARARGS, NULL}, {"version", version, METH_NOARGS, NULL},
    {"reason", reason, METH_O, NULL},     {NULL, NULL, 0, NULL}};
static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, NAME, NULL, -1, methods, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC INIT(void) {
    api = swaptable_import(SWAPTABLE_ABI_VERSION);
    return api ? PyModule_Create(&module) : NULL;
}
