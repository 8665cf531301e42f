# Every invariant of the allocator and of the records, rebuilt from the zspages and the heads; slow, and with the GIL.
# Imports errors, the allocator and the records.
# Used by check() of the compressed backends; no other thread may use the pool meanwhile.
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from swaptable._atomic cimport popcount64
from swaptable.backends._zrecord cimport (
    REC_BACKED, REC_FILLED, REC_FREE, REC_LOCK, REC_OBJECT, REC_RAW, REC_STATE, rec_body, rec_head, rec_length, rec_loc, zstore_t,
)
from swaptable.backends._zspool cimport (
    ZS_CHAIN, ZS_FULL, ZS_GROUPS, ZS_HEADER, ZS_NONE, ZS_PAGE, ZS_STEP, zs_at, zs_group_of, zs_idle_pages, zs_resident, zsclass_t,
    zspage_t, zspool_t,
)


cdef inline int fail(str what) except -1:
    from swaptable.errors import CheckError
    raise CheckError(what)


cdef inline int check_list(zspool_t *p, uint8_t[::1] kind, uint32_t first, str name, int code, uint32_t most) except -1:
    """Walk a list of empty zspages and mark them."""
    cdef uint32_t nr = first
    while nr != ZS_NONE:
        if nr >= p.fresh or kind[nr]:
            fail(f"zspage {nr} on the {name} list is on another one, or was never used (of {p.fresh})")
        kind[nr] = <uint8_t>code
        nr = p.z[nr].next
    return 0


cdef inline int check_class(zspool_t *p, uint8_t[::1] kind, unsigned int i) except -1:
    """Walk a class's lists of partial zspages and mark them."""
    cdef zsclass_t *c = &p.classes[i]
    cdef uint32_t nr, prev
    cdef int g
    for g in range(ZS_GROUPS):
        nr, prev = c.heads[g], ZS_NONE
        if (nr != ZS_NONE) != (c.mask >> g & 1):
            fail(f"class {c.size}: group {g} begins at {nr}, but the mask is {c.mask:#x}")
        while nr != ZS_NONE:
            if nr >= p.fresh or kind[nr]:
                fail(f"class {c.size}: zspage {nr} in group {g} is on another list, or was never used")
            if p.z[nr].cls != i or p.z[nr].group != g or p.z[nr].prev != prev or p.z[nr].inuse == 0:
                fail(f"class {c.size}: zspage {nr} in group {g} is {p.z[nr]}")
            kind[nr] = 3
            prev, nr = nr, p.z[nr].next
    if c.lock:
        fail(f"class {c.size} is locked")
    return 0


cdef inline int check_zspage(zspool_t *p, uint32_t nr, uint32_t[::1] zspages, uint32_t[::1] objs) except -1:
    """A zspage with objects."""
    cdef zspage_t *z = &p.z[nr]
    cdef zsclass_t *c
    if z.cls >= p.nr_classes:
        fail(f"zspage {nr} is of class {z.cls}, of {p.nr_classes}")
    c = &p.classes[z.cls]
    if popcount64(z.used[0]) + popcount64(z.used[1]) != z.inuse or z.inuse > c.objs or zs_group_of(c, z.inuse) != z.group:
        fail(f"zspage {nr} of class {c.size} with {c.objs} objects is {z[0]}")
    if popcount64(z.pages) != popcount64(z.pages & ((1 << c.pages) - 1)):
        fail(f"zspage {nr} of class {c.size} has pages {z.pages:#x}, but uses {c.pages}")
    if popcount64(z.pages) - popcount64(zs_idle_pages(c, z)) < (z.inuse * c.size + ZS_PAGE - 1) // ZS_PAGE:
        fail(f"zspage {nr} of class {c.size}: {z.inuse} objects in pages {z.pages:#x}")
    zspages[z.cls] += 1
    objs[z.cls] += z.inuse
    return 0


cdef inline int check_counts(zspool_t *p, int64_t pages, int64_t spare, uint32_t[::1] zspages, uint32_t[::1] objs) except -1:
    cdef unsigned int i
    cdef int64_t resident
    for i in range(p.nr_classes):
        if p.classes[i].nr_zspages != zspages[i] or p.classes[i].nr_objs != objs[i]:
            fail(f"class {p.classes[i].size} counts {p.classes[i].nr_zspages} zspages, {p.classes[i].nr_objs} objects; "
                 f"there are {zspages[i]}, {objs[i]}")
    if p.pages != pages or p.spare_pages != spare:
        fail(f"{p.pages} pages, {p.spare_pages} of them spare, are counted; there are {pages}, {spare}")
    if p.peak < pages:
        fail(f"{pages} pages, but the peak is {p.peak}")
    resident = zs_resident(p.base, <uint64_t>p.fresh * ZS_CHAIN)
    if resident > pages:
        fail(f"the system has {resident} pages of the pool in memory; counted are {pages}")
    return 0


cdef inline int check_spool(zspool_t *p) except -1:
    """Lists, counts, bits and pages of the allocator."""
    import numpy as np
    cdef uint8_t[::1] kind = np.zeros(p.fresh + 1, np.uint8)
    cdef uint32_t[::1] zspages = np.zeros(256, np.uint32)
    cdef uint32_t[::1] objs = np.zeros(256, np.uint32)
    cdef int64_t pages = 0, spare = 0
    cdef uint32_t nr
    cdef unsigned int i
    check_list(p, kind, p.free, "free", 1, p.fresh)
    check_list(p, kind, p.spare, "spare", 2, p.fresh)
    for i in range(p.nr_classes):
        check_class(p, kind, i)
    for nr in range(p.fresh):
        pages += popcount64(p.z[nr].pages)
        if kind[nr] == 1 and p.z[nr].pages:
            fail(f"free zspage {nr} has pages {p.z[nr].pages:#x}")
        elif kind[nr] == 2:
            spare += popcount64(p.z[nr].pages)
        elif kind[nr] != 1:
            if kind[nr] == 0 and p.z[nr].group != ZS_FULL:
                fail(f"zspage {nr} is on no list: {p.z[nr]}")
            check_zspage(p, nr, zspages, objs)
    if p.lock:
        fail("the pool is locked")
    return check_counts(p, pages, spare, zspages, objs)


cdef inline int check_object(zstore_t *s, uint32_t nr, uint64_t[::1] claimed) except -1:
    """A record with an object, which no other record may have."""
    cdef uint32_t head = rec_head(s, nr)[0]
    cdef uint64_t loc = rec_loc(head, rec_body(s, nr)[0]), bit = <uint64_t>1 << (loc & 63), word = loc >> 6
    cdef zspage_t *z
    cdef unsigned int wanted
    if loc >> 7 >= s.zs.fresh:
        fail(f"record {nr} has an object in zspage {loc >> 7}, of {s.zs.fresh}")
    z = &s.zs.z[loc >> 7]
    if not z.used[loc >> 6 & 1] & bit or claimed[word] & bit:
        fail(f"record {nr}: object {loc & 127} of zspage {loc >> 7} is free, or another record's")
    claimed[word] |= bit
    wanted = ZS_PAGE if (head & REC_STATE) == REC_RAW else rec_length(head) + ZS_HEADER
    if z.cls != s.zs.class_of[(wanted + ZS_STEP - 1) // ZS_STEP]:
        fail(f"record {nr}: {rec_length(head)} bytes in an object of {s.zs.classes[z.cls].size}")
    if (head & REC_STATE) == REC_OBJECT and (<uint32_t *>zs_at(&s.zs, loc))[0] != nr:
        fail(f"record {nr}: its object says {(<uint32_t *>zs_at(&s.zs, loc))[0]}")
    return 0


cdef inline int check_records(zstore_t *s, int64_t free_records) except -1:
    """Records against objects and counts; *free_records* of them hold nothing."""
    import numpy as np
    cdef uint64_t[::1] claimed = np.zeros(2 * s.zs.fresh + 2, np.uint64)
    cdef int64_t[::1] seen = np.zeros(8, np.int64)
    cdef int64_t length = 0
    cdef uint32_t nr, head, i
    for nr in range(s.nr):
        head = rec_head(s, nr)[0]
        if head & REC_LOCK or (head & REC_STATE) > REC_BACKED:
            fail(f"record {nr} is locked, or its number is taken and not used: {head:#x}")
        seen[head & REC_STATE] += 1
        if (head & REC_STATE) == REC_OBJECT or (head & REC_STATE) == REC_RAW:
            length += rec_length(head)
            check_object(s, nr, claimed)
    for i in range(s.zs.fresh):
        if s.zs.z[i].inuse and (claimed[2 * i] != s.zs.z[i].used[0] or claimed[2 * i + 1] != s.zs.z[i].used[1]):
            fail(f"zspage {i} has objects of no record: {s.zs.z[i]}")
    if seen[REC_FREE] != free_records:
        fail(f"{seen[REC_FREE]} records hold nothing; {free_records} are known to")
    counted = (s.stat.filled, s.stat.raw, s.stat.stored, s.stat.bytes)
    found = (seen[REC_FILLED], seen[REC_RAW], s.nr - seen[REC_FREE], length)
    if counted != found:
        fail(f"filled, raw, stored pages and bytes are counted as {counted}; there are {found}")
    return 0
