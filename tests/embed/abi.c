/* The smallest client: whichever header it is built with decides what it asks the module for.
 * Includes that header.
 * Used by tests/test_capi.py, with today's header, yesterday's and tomorrow's.
 */
#include <swaptable.h>

static const swaptable_api *api;

static PyObject *there_and_back(PyObject *self, PyObject *object) {
    (void)self;
    swaptable_table *table;
    int64_t slot = -1, used = -1;
    if (api->open(object, &table) == 0) {
        if (api->alloc(table, 3, 0, 0, 0, &slot, NULL) == 0) used = api->used(table);
        api->free_slots(table, slot, 8, NULL);
        api->close(table);
    }
    return Py_BuildValue("LLIn", (long long)slot, (long long)used, api->abi_version, (Py_ssize_t)sizeof(swaptable_api));
}

static PyMethodDef methods[] = {{"there_and_back", there_and_back, METH_O, NULL}, {NULL, NULL, 0, NULL}};
static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, NAME, NULL, -1, methods, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC INIT(void) {
    api = swaptable_import(SWAPTABLE_ABI_VERSION);
    return api ? PyModule_Create(&module) : NULL;
}
