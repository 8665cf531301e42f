/* A host in C: starts Python once to get the table, then replays a trace on its own threads, with no Python in the loop.
 * Includes the installed swaptable.h, libc and pthreads; C11, and C++17 as it is.
 *
 * Each thread is a process that makes the accesses of the trace in so many pages of memory, by the clock (second chance):
 * one address space each, one swap table for all.
 *
 * Build and run, in an environment with swaptable and with a C compiler; the program's first argument is its python:
 *
 *     swaptable trace convert gcc trace.lackey
 *     flags=$(python -c 'import swaptable, sysconfig; v = sysconfig.get_config_var
 *     print("-I" + swaptable.get_include(), "-I" + sysconfig.get_path("include"), "-L" + v("LIBDIR"),
 *           "-Wl,-rpath," + v("LIBDIR"), "-lpython" + v("LDVERSION"), v("LIBS"), v("LINKFORSHARED"))')
 *     gcc -std=c11 -O2 -Wall -Wextra replay.c -o replay $flags -pthread
 *     ./replay "$(command -v python)" trace.lackey 3000 2
 *
 * As C++: g++ -std=c++17 -x c++ -O2 -Wall -Wextra replay.c -o replay $flags -pthread
 */
#include <swaptable.h>

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    uint32_t page;
    int write;
} touch;

typedef struct {
    int64_t slot; /* -1: none. Resident with a slot: clean, and in the swap cache */
    int resident, accessed;
} page;

typedef struct {
    const swaptable_api *api;
    swaptable_table *table;
    const touch *trace;
    int64_t n, pages, memory;
    int cpu, err;
    uint64_t pgfault, pswpin, pswpout;
    swaptable_stat stat;
} process;

/* ---- the trace: lines " L ADDR,SIZE", " S ADDR,SIZE" and " M ADDR,SIZE" of valgrind's lackey; pages numbered as they come */

static int by_value(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static touch *read_trace(const char *path, int64_t *n, int64_t *pages) {
    FILE *file = fopen(path, "r");
    char line[256], kind;
    uint64_t address, *raw = NULL, *known;
    int64_t room = 0, k, m = 0;
    touch *trace;
    if (file == NULL) return NULL;
    for (*n = 0; fgets(line, sizeof line, file);) {
        if (sscanf(line, " %c %" SCNx64 ",", &kind, &address) != 2 || strchr("LSM", kind) == NULL) continue;
        if (*n == room) raw = (uint64_t *)realloc(raw, (size_t)(room = 2 * room + 4096) * sizeof *raw);
        raw[(*n)++] = address >> 12 << 1 | (kind != 'L');
    }
    fclose(file);
    trace = (touch *)malloc((size_t)*n * sizeof *trace + 1);
    known = (uint64_t *)malloc((size_t)*n * sizeof *known + 1);
    for (k = 0; k < *n; k++) known[k] = raw[k] >> 1;
    qsort(known, (size_t)*n, sizeof *known, by_value);
    for (k = 0; k < *n; k++)
        if (m == 0 || known[k] != known[m - 1]) known[m++] = known[k];
    for (k = 0; k < *n; k++) {
        address = raw[k] >> 1;
        trace[k].page = (uint32_t)((uint64_t *)bsearch(&address, known, (size_t)m, sizeof *known, by_value) - known);
        trace[k].write = (int)(raw[k] & 1);
    }
    *pages = m;
    free(raw);
    free(known);
    return trace;
}

/* ---- a process */

static int swap_out(process *p, page *victim, uint64_t pfn, uint64_t clock) {
    int err = 0;
    if (victim->slot < 0) {
        err = p->api->alloc(p->table, 0, p->cpu, pfn, 0, &victim->slot, &p->stat);
        if (!err) err = p->api->writeout(p->table, victim->slot, 1, &p->stat), p->pswpout++;
    }
    if (!err) err = p->api->dup(p->table, victim->slot, 1, &p->stat); /* the page table entry that now names the slot */
    if (!err) err = p->api->cache_del(p->table, victim->slot, 1, clock, &p->stat);
    victim->resident = 0;
    return err;
}

static int swap_in(process *p, page *wanted, uint64_t pfn) {
    int err;
    if (wanted->slot < 0) return 0; /* its first touch */
    p->pswpin++;
    err = p->api->cache_add(p->table, wanted->slot, 1, pfn, NULL, &p->stat);
    return err ? err : p->api->put(p->table, wanted->slot, 1, &p->stat);
}

static void *run(void *arg) {
    process *p = (process *)arg;
    page *pages = (page *)calloc((size_t)p->pages, sizeof *pages);
    int64_t *frame = (int64_t *)malloc((size_t)p->memory * sizeof *frame), k, hand = 0, used = 0;
    for (k = 0; k < p->pages; k++) pages[k].slot = -1;
    for (k = 0; k < p->n && !p->err; k++) {
        page *now = &pages[p->trace[k].page];
        if (!now->resident) {
            p->pgfault++;
            if (used < p->memory) {
                hand = used++;
            } else {
                for (; pages[frame[hand]].accessed; hand = (hand + 1) % p->memory) pages[frame[hand]].accessed = 0;
                p->err = swap_out(p, &pages[frame[hand]], (uint64_t)hand, p->pgfault);
            }
            if (!p->err) p->err = swap_in(p, now, (uint64_t)hand);
            frame[hand] = p->trace[k].page;
            hand = (hand + 1) % p->memory;
            now->resident = 1;
        }
        now->accessed = 1;
        if (p->trace[k].write && now->slot >= 0 && !p->err) { /* the copy in the slot is old; without users the slot is free */
            p->err = p->api->cache_del(p->table, now->slot, 1, 0, &p->stat);
            now->slot = -1;
        }
    }
    for (k = 0; k < p->pages && !p->err; k++) /* the process exits */
        if (pages[k].slot >= 0) p->err = p->api->free_slots(p->table, pages[k].slot, 1, &p->stat);
    free(pages);
    free(frame);
    return NULL;
}

/* ---- the host */

/* libpython is found by the linker, the packages by the interpreter's name: that of the virtual environment. */
static int start_python(const char *executable) {
    PyConfig config;
    PyStatus status;
    PyConfig_InitPythonConfig(&config);
    status = PyConfig_SetBytesString(&config, &config.executable, executable);
    if (!PyStatus_Exception(status)) status = Py_InitializeFromConfig(&config);
    PyConfig_Clear(&config);
    if (PyStatus_Exception(status)) fprintf(stderr, "Python does not start: %s\n", status.err_msg ? status.err_msg : "?");
    return PyStatus_Exception(status) ? -1 : 0;
}

int main(int argc, char **argv) {
    int64_t n = 0, pages = 0, memory = argc == 5 ? atoll(argv[3]) : 0;
    int threads = argc == 5 ? atoi(argv[4]) : 0, k, err = 0;
    swaptable_options options = SWAPTABLE_OPTIONS;
    swaptable_table *table = NULL;
    const swaptable_api *api;
    PyThreadState *python;
    process process_of[64];
    pthread_t thread[64];
    char why[512] = "";
    touch *trace;
    if (memory < 1 || threads < 1 || threads > 64) return fprintf(stderr, "usage: replay PYTHON TRACE PAGES THREADS\n"), 2;
    if ((trace = read_trace(argv[2], &n, &pages)) == NULL) return perror(argv[2]), 1;
    if (start_python(argv[1])) return 1;
    if ((api = swaptable_import(SWAPTABLE_ABI_VERSION)) == NULL) return PyErr_Print(), 1;
    python = PyEval_SaveThread(); /* from here on nobody holds the GIL */

    options.cpus = threads;
    if ((err = api->create(&options, &table))) return fprintf(stderr, "no table: %s\n", strerror(-err)), 1;
    for (k = 0; k < threads; k++) {
        process *p = &process_of[k];
        memset(p, 0, sizeof *p);
        p->api = api, p->table = table, p->trace = trace, p->n = n, p->pages = pages, p->memory = memory, p->cpu = k;
        if (pthread_create(&thread[k], NULL, run, p)) return perror("a thread"), 1;
    }
    for (k = 0; k < threads; k++) {
        process *p = &process_of[k];
        pthread_join(thread[k], NULL);
        err = err ? err : p->err;
        printf("process %d: pgfault %" PRIu64 " pswpin %" PRIu64 " pswpout %" PRIu64 ", %" PRIu64 " cluster locks, %s\n", k, p->pgfault,
               p->pswpin, p->pswpout, p->stat.cluster_locks, p->err ? strerror(-p->err) : "done");
    }
    printf("%" PRId64 " accesses to %" PRId64 " pages; %" PRId64 " of %" PRId64 " slots in use, %" PRIu64 " bytes\n", n, pages,
           api->used(table), api->usable(table), api->bytes(table));
    if (api->check(table, why, sizeof why)) err = -1, fprintf(stderr, "check: %s\n", why);
    api->close(table);
    free(trace);
    PyEval_RestoreThread(python);
    return Py_FinalizeEx() || err ? 1 : 0;
}
