// The program whose touches are in node.npz: documents parsed, changed and kept in a cache until they are the oldest.
// Imports nothing; run by node --jitless --single-threaded, which Valgrind can follow.
// Used by `make traces`; what is of interest is V8's garbage-collected heap.
"use strict";

const DOCUMENTS = 14000, KEPT = 2500;
let state = 12345;
const random = () => ((state = (Math.imul(state, 1664525) + 1013904223) >>> 0) / 4294967296);
const cache = new Map();
let bytes = 0, hits = 0;

function make(id) {
    const tags = Array.from({ length: 6 + Math.floor(random() * 20) }, (_, i) => `tag-${(id * 31 + i * 7) % 997}`);
    const rows = Array.from({ length: 8 }, (_, i) => ({ id: i, price: random() * 100, text: `row ${i} of ${id}` }));
    return JSON.stringify({ id, tags, rows, owner: { name: `user-${id % 613}`, seen: random() } });
}

for (let i = 0; i < DOCUMENTS; i++) {
    const id = Math.floor(20000 * random() ** 3);
    let kept = cache.get(id);
    if (kept) {
        hits++;
        cache.delete(id);
        kept.rows.sort((a, b) => a.price - b.price);
        kept.seen = { at: i, by: kept.owner.name };
    } else {
        const text = make(id);
        bytes += text.length;
        kept = JSON.parse(text);
    }
    cache.set(id, kept);
    if (cache.size > KEPT) cache.delete(cache.keys().next().value);
}
console.log(cache.size, hits, bytes);
