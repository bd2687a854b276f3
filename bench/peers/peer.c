/* What the kernels do, in C: AUG and ACCEPT of 4K pages over a region, S-EPT walks, PAMT lookups, and the loops that
 * say how fast memory allows them to be. The arrays are those of kernels.tables.Tables, a PAMT entry is two words.
 * Return values are the kernels' statuses. */
#include <stdint.h>

typedef uint64_t u64;
typedef int64_t i64;

#define RWX 0x7ull
#define LEAF (1ull << 7)
#define IPAT (1ull << 6)
#define WRITE_BACK (6ull << 3)
#define LOCK (1ull << 11)
#define HPA_MASK 0x000FFFFFFFFFF000ull
#define HOST_PRIORITY (1ull << 52)
#define TDEX (1ull << 53)
#define TDBW (1ull << 54)
#define TDB (1ull << 55)
#define TDP (1ull << 56)
#define SUPPRESS_VE (1ull << 63)
#define FREE (SUPPRESS_VE | TDEX | TDBW | TDB)
#define MAPPED (SUPPRESS_VE | LEAF | IPAT | WRITE_BACK | RWX)
#define PENDING (SUPPRESS_VE | TDP | LEAF | IPAT | WRITE_BACK)
#define STATE_MASK (IPAT | LEAF | (1ull << 9) | TDEX | TDBW | TDB | TDP)
#define REMOVED_STATE (TDBW | TDB)

#define LOCK_MASK 0xFFFFull
#define LOCK_EXCLUSIVE 1ull
#define LOCK_HOST_PRIORITY 2ull
#define TYPE_MASK (0xFFull << 16)
#define PT_REG 3ull

#define CHUNK 64

/* What an AUG answers that this peer does not go into: it stops there, and the benchmark says so. */
#define REFUSED 1

typedef struct {
    u64 *sept;
    i64 sept_pfn;
    u64 *pamt_1g, *pamt_2m, *pamt_4k;
    const int32_t *slot;
    i64 blocks;
    i64 *td; /* TDR PFN, root row, levels, CHLDCNT */
} tables;

enum { TDR_PFN, ROOT, LEVELS, CHLDCNT };
enum { AUG_4K, ACCEPT_4K, WALK_READS_HOST, WALK_READS_GUEST, SEPT_LINES, PAMT_LINES };

static i64 type_of(u64 word) { return (word & TYPE_MASK) >> 16; }

static int walk(const tables *t, i64 gfn, i64 level, i64 *row, i64 *index, u64 *entry)
{
    i64 at = t->td[LEVELS] - 1;
    *row = t->td[ROOT];
    for (;; at--) {
        *index = gfn >> (9 * at) & 511;
        *entry = t->sept[*row * 512 + *index];
        if (at <= level || !(*entry & RWX) || *entry & LEAF)
            return at;
        *row = (i64)((*entry & HPA_MASK) >> 12) - t->sept_pfn;
    }
}

static u64 state_code(u64 entry) { return (entry >> 9 & 1) | (entry >> 53 & 15) << 1 | (entry >> 6 & 3) << 5; }

/* Take a lock with host priority shared and release it. */
static int pass_shared(u64 *word)
{
    if (*word & LOCK_EXCLUSIVE)
        return 0;
    if (*word & LOCK_HOST_PRIORITY)
        *word &= ~LOCK_HOST_PRIORITY;
    return 1;
}

static int aug(tables *t, u64 *entry, i64 pfn)
{
    if (*entry & LOCK)
        return REFUSED;
    *entry &= ~HOST_PRIORITY;
    u64 state = *entry & STATE_MASK;
    if (state != (FREE & STATE_MASK) && state != REMOVED_STATE)
        return REFUSED;
    i64 block = pfn >> 18;
    if (pfn >> 40 || block >= t->blocks || t->slot[block] < 0)
        return REFUSED;
    i64 slot = t->slot[block];
    u64 *word_2m = t->pamt_2m + 2 * (slot * 512 + (pfn >> 9 & 511));
    u64 *word_4k = t->pamt_4k + 2 * (slot * 262144 + (pfn & 0x3FFFF));
    if (!pass_shared(t->pamt_1g + 2 * block) || type_of(t->pamt_1g[2 * block]) == PT_REG)
        return REFUSED;
    if (!pass_shared(word_2m) || type_of(*word_2m) == PT_REG)
        return REFUSED;
    if (*word_4k & LOCK_MASK & ~LOCK_HOST_PRIORITY || *word_4k & TYPE_MASK)
        return REFUSED;
    word_4k[0] = PT_REG << 16 | (u64)t->td[TDR_PFN] << 24;
    word_4k[1] = 0;
    *entry = PENDING | (u64)pfn << 12;
    t->td[CHLDCNT]++;
    return 0;
}

/* AUG the pages of a run behind its first, whose entry was `before`; return how many. */
static i64 aug_rest(tables *t, u64 *restrict sept, u64 before, const i64 *restrict pfn, i64 pages)
{
    i64 start = pfn[0], in_frame = 512 - (start & 511), done = 1, n = CHUNK;
    u64 *restrict pamt = t->pamt_4k + 2 * ((i64)t->slot[start >> 18] * 262144 + (start & 0x3FFFF));
    u64 owned = PT_REG << 16 | (u64)t->td[TDR_PFN] << 24;
    if (pages > in_frame)
        pages = in_frame;
    if (pages > 1 && pfn[1] != start + 1)
        return 0;
    while (done < pages && n > 0) {
        if (n > pages - done)
            n = pages - done;
        u64 other = 0;
        for (i64 i = done; i < done + n; i++)
            other |= (u64)(pfn[i] ^ (start + i));
        for (i64 i = done; i < done + n; i++)
            other |= sept[i] ^ before;
        for (i64 i = done; i < done + n; i++)
            other |= pamt[2 * i] & (LOCK_MASK | TYPE_MASK);
        if (other) {
            n /= 2;
            continue;
        }
        for (i64 i = done; i < done + n; i++)
            sept[i] = PENDING | (u64)(start + i) << 12;
        for (i64 i = done; i < done + n; i++) {
            pamt[2 * i] = owned;
            pamt[2 * i + 1] = 0;
        }
        done += n;
    }
    t->td[CHLDCNT] += done - 1;
    return done - 1;
}

i64 peer_aug_region(tables *t, i64 gfn, const i64 *pfn, i64 *counts)
{
    i64 last_sept = -1, last_pamt = -1;
    for (i64 r = 0; r < 512; r++) {
        i64 row, index;
        u64 entry;
        if (walk(t, gfn + r * 512, 0, &row, &index, &entry) != 0)
            return REFUSED;
        for (i64 i = 0; i < 512;) {
            u64 *sept = t->sept + row * 512 + i, before = *sept;
            const i64 *here = pfn + r * 512 + i;
            i64 n = 1, status = aug(t, sept, here[0]);
            if (status)
                return status;
            n += aug_rest(t, sept, before, here, 512 - i);
            i64 line = row * 64 + (i >> 3), end = row * 64 + ((i + n - 1) >> 3);
            counts[SEPT_LINES] += (line != last_sept) + end - line;
            last_sept = end;
            line = here[0] >> 2, end = (here[0] + n - 1) >> 2;
            counts[PAMT_LINES] += (line != last_pamt) + end - line;
            last_pamt = end;
            i += n;
        }
        counts[AUG_4K] += 512;
        counts[WALK_READS_HOST] += 512 * t->td[LEVELS];
    }
    return 0;
}

i64 peer_accept_region(tables *t, i64 gfn, i64 *counts)
{
    for (i64 r = 0; r < 512; r++) {
        i64 row, index;
        u64 entry;
        if (walk(t, gfn + r * 512, 0, &row, &index, &entry) != 0)
            return REFUSED;
        u64 *sept = t->sept + row * 512;
        for (i64 first = 0; first < 512; first += CHUNK) {
            u64 other = 0;
            for (i64 i = first; i < first + CHUNK; i++)
                other |= (sept[i] & ~HPA_MASK) ^ PENDING;
            if (other)
                return REFUSED;
            for (i64 i = first; i < first + CHUNK; i++)
                sept[i] = MAPPED | (sept[i] & HPA_MASK);
        }
        counts[ACCEPT_4K] += 512;
        counts[WALK_READS_GUEST] += 512 * t->td[LEVELS];
    }
    return 0;
}

void peer_walk_many(const tables *t, const i64 *gfns, i64 n, i64 level, int8_t *reached, u64 *entries, uint8_t *states)
{
    for (i64 i = 0; i < n; i++) {
        i64 row, index;
        reached[i] = walk(t, gfns[i], level, &row, &index, entries + i);
        states[i] = state_code(entries[i]);
    }
}

void peer_lookup_many(const tables *t, const i64 *pfns, i64 n, int8_t *levels, u64 *words)
{
    for (i64 i = 0; i < n; i++) {
        i64 block = pfns[i] >> 18, slot = block < 0 || block >= t->blocks ? -1 : t->slot[block];
        const u64 *entry = 0;
        levels[i] = -1;
        if (slot >= 0) {
            levels[i] = 2, entry = t->pamt_1g + 2 * block;
            if (type_of(*entry) != PT_REG)
                levels[i] = 1, entry = t->pamt_2m + 2 * (slot * 512 + (pfns[i] >> 9 & 511));
            if (type_of(*entry) != PT_REG)
                levels[i] = 0, entry = t->pamt_4k + 2 * (slot * 262144 + (pfns[i] & 0x3FFFF));
        }
        words[2 * i] = entry ? entry[0] : 0;
        words[2 * i + 1] = entry ? entry[1] : 0;
    }
}

/* Rooflines: read and write the bytes that a kernel does, in one pass, with ordinary stores and nothing else to do.
 * `sept` has n words, `pamt` n pairs, `pfn` n numbers. What is read is returned or written, so that no read is left out.
 * roofline_*: AUG and ADD; ACCEPT; BLOCK; REMOVE; DEMOTE into 512 leaves; AUG 2M, which reads 512 PAMT_4K entries. */

u64 roofline_map(u64 *restrict sept, u64 *restrict pamt, const i64 *restrict pfn, i64 n)
{
    u64 seen = 0;
    for (i64 i = 0; i < n; i++) {
        seen |= sept[i] | pamt[2 * i];
        sept[i] = PENDING | (u64)pfn[i] << 12;
        pamt[2 * i] = 1;
        pamt[2 * i + 1] = 0;
    }
    return seen;
}

u64 roofline_accept(u64 *restrict sept, u64 *restrict pamt, const i64 *restrict pfn, i64 n)
{
    (void)pamt, (void)pfn;
    for (i64 i = 0; i < n; i++)
        sept[i] = MAPPED | (sept[i] & HPA_MASK);
    return 0;
}

u64 roofline_block(u64 *restrict sept, u64 *restrict pamt, const i64 *restrict pfn, i64 n)
{
    (void)pfn;
    for (i64 i = 0; i < n; i++) {
        sept[i] = TDB | (sept[i] & HPA_MASK);
        pamt[2 * i + 1] = 1;
    }
    return 0;
}

u64 roofline_remove(u64 *restrict sept, u64 *restrict pamt, const i64 *restrict pfn, i64 n)
{
    u64 seen = 0;
    (void)pfn;
    for (i64 i = 0; i < n; i++) {
        seen |= sept[i] | pamt[2 * i + 1];
        sept[i] = FREE;
        pamt[2 * i] &= ~TYPE_MASK;
    }
    return seen;
}

u64 roofline_demote(u64 *restrict sept, u64 *restrict pamt, const i64 *restrict pfn, i64 n)
{
    (void)pfn;
    for (i64 i = 0; i < n; i++) {
        sept[i] = MAPPED | (u64)i << 12;
        pamt[2 * i] = (pamt[2 * i] & LOCK_MASK) | PT_REG << 16;
        pamt[2 * i + 1] = 0;
    }
    return 0;
}

u64 roofline_aug_2m(u64 *restrict sept, u64 *restrict pamt, const i64 *restrict pfn, i64 n)
{
    u64 seen = 0;
    (void)sept, (void)pfn;
    for (i64 i = 0; i < n; i++)
        seen |= pamt[2 * i];
    return seen;
}
