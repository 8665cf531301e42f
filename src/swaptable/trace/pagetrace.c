// SPDX-License-Identifier: MIT
// A Valgrind tool that writes the page touches of a program's data accesses, one file an address space.
// Includes Valgrind's public tool headers only; compiled on the user's machine by _valgrind.py.
// Run by record.py; _recording.py reads what it writes.
//
// Output: 64-bit words in the machine's byte order, in files OUT/STARTUSEC-PID.
//   page << 1 | write      a touch that the recency window did not drop
//   1 << 63 | usec         the touches that follow were made from this time of day on
//   3 << 62 | n            n more accesses were made, dropped ones included
// A page among the `window` most recent ones is written again only for the first store of its stay.
#include "pub_tool_basics.h"
#include "pub_tool_vki.h"
#include "pub_tool_vkiscnums.h"
#include "pub_tool_aspacemgr.h"
#include "pub_tool_libcassert.h"
#include "pub_tool_libcbase.h"
#include "pub_tool_libcfile.h"
#include "pub_tool_libcprint.h"
#include "pub_tool_libcproc.h"
#include "pub_tool_mallocfree.h"
#include "pub_tool_machine.h"
#include "pub_tool_options.h"
#include "pub_tool_oset.h"
#include "pub_tool_tooliface.h"

#define MAX_WINDOW 4096
#define WORDS 8192
#define STAMP (1ULL << 63)
#define COUNT (3ULL << 62)
#define PAGE_BITS 36          // a user address has at most 48 bits
#define NOWHERE (1ULL << 63)  // no user address is less than a page above it

static const HChar* clo_out = NULL;
static Int clo_window = 64, clo_shift = 12;
static Bool clo_instr = False, clo_files = False;

static ULong buffer[WORDS], window[MAX_WINDOW];   // window: page << 1 | stored to in this stay, most recent first
static UInt filled, used, since_stamp;
static ULong accesses, last_stamp;
static Bool stamp_due;
static ULong read_base, write_base;               // page address whose loads (stores) need no call from generated code
static OSet* own_pages;                           // pages of file mappings that were stored to, so private by now
static HChar path[4096];

static ULong now(void)
{
   struct vki_timeval tv;
   VG_(gettimeofday)(&tv, NULL);
   return tv.tv_sec * 1000000ULL + tv.tv_usec;
}

// The file is opened for each buffer, so that no descriptor of ours can meet one of the program's.
static void flush(void)
{
   const HChar* from = (const HChar*)buffer;
   SizeT left;
   buffer[filled++] = COUNT | accesses;
   accesses = 0;
   Int fd = VG_(fd_open)(path, VKI_O_WRONLY | VKI_O_CREAT | VKI_O_APPEND, 0600);
   for (left = filled * sizeof *buffer; fd >= 0 && left > 0; ) {
      Int n = VG_(write)(fd, from, left);
      if (n <= 0) break;
      from += n;
      left -= n;
   }
   if (fd < 0 || left > 0) {
      VG_(fmsg)("pagetrace: cannot write %s\n", path);
      VG_(exit)(1);
   }
   VG_(close)(fd);
   filled = 0;
}

// A new address space: its own file and an empty window.
static void begin(void)
{
   last_stamp = now();
   VG_(snprintf)(path, sizeof path, "%s/%020llu-%d", clo_out, last_stamp, VG_(getpid)());
   filled = used = since_stamp = 0;
   accesses = 0;
   read_base = write_base = NOWHERE;
   buffer[filled++] = STAMP | last_stamp;
}

static void begin_child(ThreadId tid) { begin(); }
static void flush_parent(ThreadId tid) { flush(); }

// Waiting in a system call is when other processes run, so a stamp may be due after each; at most one a millisecond.
static void stamp(void)
{
   ULong t = now();
   if (t >= last_stamp + 1000) buffer[filled++] = STAMP | (last_stamp = t);
   stamp_due = False;
   since_stamp = 0;
}

// Memory the kernel would swap: not its own vsyscall page, and no page of a file that the program never stored to.
// The address decides, since a page larger than the machine's own may begin in another mapping.
static Bool swappable(Addr addr, Bool write)
{
   ULong page = addr >> clo_shift;
   if (page >> PAGE_BITS) return False;
   if (clo_files) return True;
   const NSegment* seg = VG_(am_find_nsegment)(addr);
   if (!seg || seg->kind != SkFileC || VG_(OSetWord_Contains)(own_pages, page)) return True;
   if (write) VG_(OSetWord_Insert)(own_pages, page);
   return write;
}

static void emit(Addr addr, Bool write)
{
   if (!swappable(addr, write)) return;
   if (filled > WORDS - 3) flush();
   if (stamp_due || ++since_stamp >= 4096) stamp();
   buffer[filled++] = (ULong)(addr >> clo_shift) << 1 | write;
}

static void touch(Addr addr, Bool write)
{
   ULong page = addr >> clo_shift, entry = page << 1, carry = entry, was;
   Bool hit = False;
   UInt i;
   // Move to the front in one pass: each older entry steps back until the page's old place, or the end, is reached.
   for (i = 0; i < used && !hit; i++) {
      was = window[i];
      window[i] = carry;
      carry = was;
      hit = was >> 1 == page;
   }
   if (!hit && used < clo_window) window[used++] = carry;
   window[0] = (hit ? carry : entry) | write;
   if (!hit || (write && !(carry & 1))) emit(addr, write);
   read_base = page << clo_shift;
   write_base = window[0] & 1 ? read_base : NOWHERE;
}

static void touch_range(Addr addr, SizeT size, Bool write)
{
   Addr page_size = (Addr)1 << clo_shift, last = addr + size - 1;
   for (; addr <= last; addr = (addr & -page_size) + page_size) touch(addr, write);
}

static VG_REGPARM(2) void on_load(Addr addr, SizeT size) { touch_range(addr, size, False); }
static VG_REGPARM(2) void on_store(Addr addr, SizeT size) { touch_range(addr, size, True); }

// What a system call reads and writes is touched as well, by the kernel in the program's name.
static void by_kernel(CorePart part, Addr addr, SizeT size, Bool write)
{
   if ((part != Vg_CoreSysCall && part != Vg_CoreSignal) || size == 0) return;
   if (!VG_(am_is_valid_for_client)(addr, size, VKI_PROT_NONE)) return;
   accesses++;
   touch_range(addr, size, write);
}

static void kernel_reads(CorePart part, ThreadId tid, const HChar* s, Addr a, SizeT n) { by_kernel(part, a, n, False); }
static void kernel_reads_text(CorePart part, ThreadId tid, const HChar* s, Addr a) { by_kernel(part, a, 1, False); }
static void kernel_wrote(CorePart part, ThreadId tid, Addr a, SizeT n) { by_kernel(part, a, n, True); }

static void pre_syscall(ThreadId tid, UInt number, UWord* args, UInt nargs)
{
   // An exec that works never returns, not even to fini().
   if (number == __NR_execve || number == __NR_execveat) flush();
}

static void post_syscall(ThreadId tid, UInt number, UWord* args, UInt nargs, SysRes res) { stamp_due = True; }

static IRExpr* assign(IRSB* sb, IRType type, IRExpr* expr)
{
   IRTemp tmp = newIRTemp(sb->tyenv, type);
   addStmtToIRSB(sb, IRStmt_WrTmp(tmp, expr));
   return IRExpr_RdTmp(tmp);
}

static IRExpr* u64(ULong value) { return IRExpr_Const(IRConst_U64(value)); }

static IRExpr* load_u64(IRSB* sb, ULong* from)
{
   return assign(sb, Ity_I64, IRExpr_Load(Iend_LE, Ity_I64, mkIRExpr_HWord((HWord)from)));
}

// Call on_load or on_store unless the whole access is in the page that needs no call: one load, subtract and compare.
static void add_access(IRSB* sb, IRExpr* addr, Int size, Bool write, IRExpr* guard)
{
   IRExpr* base = load_u64(sb, write ? &write_base : &read_base);
   IRExpr* offset = assign(sb, Ity_I64, IRExpr_Binop(Iop_Sub64, addr, base));
   IRExpr* call = assign(sb, Ity_I1, IRExpr_Binop(Iop_CmpLT64U, u64((1ULL << clo_shift) - size), offset));
   if (guard) {
      IRExpr* a = assign(sb, Ity_I64, IRExpr_Unop(Iop_1Uto64, guard));
      IRExpr* b = assign(sb, Ity_I64, IRExpr_Unop(Iop_1Uto64, call));
      IRExpr* both = assign(sb, Ity_I64, IRExpr_Binop(Iop_And64, a, b));
      call = assign(sb, Ity_I1, IRExpr_Binop(Iop_CmpNE64, both, u64(0)));
   }
   void* f = write ? (void*)on_store : (void*)on_load;
   IRDirty* d = unsafeIRDirty_0_N(2, write ? "on_store" : "on_load", VG_(fnptr_to_fnentry)(f),
                                  mkIRExprVec_2(addr, mkIRExpr_HWord(size)));
   d->guard = call;
   addStmtToIRSB(sb, IRStmt_Dirty(d));
}

static void add_count(IRSB* sb, UInt n)
{
   if (n == 0) return;
   IRExpr* sum = assign(sb, Ity_I64, IRExpr_Binop(Iop_Add64, load_u64(sb, &accesses), u64(n)));
   addStmtToIRSB(sb, IRStmt_Store(Iend_LE, mkIRExpr_HWord((HWord)&accesses), sum));
}

// Does the instruction that statement i belongs to go on to store at this address? Its load is then half of a modify.
static Bool stored_next(const IRSB* in, Int i, const IRExpr* addr)
{
   while (++i < in->stmts_used && in->stmts[i]->tag != Ist_IMark) {
      const IRStmt* st = in->stmts[i];
      if (st->tag == Ist_Store && eqIRAtom(st->Ist.Store.addr, addr)) return True;
      if (st->tag == Ist_CAS && eqIRAtom(st->Ist.CAS.details->addr, addr)) return True;
   }
   return False;
}

// Instrument what statement i does to memory; the number of accesses in it.
static UInt add_statement(IRSB* sb, const IRSB* in, Int i)
{
   const IRStmt* st = in->stmts[i];
   IRType type, wide;
   switch (st->tag) {
   case Ist_WrTmp: {
      const IRExpr* e = st->Ist.WrTmp.data;
      if (e->tag != Iex_Load) return 0;
      IRExpr* addr = e->Iex.Load.addr;
      add_access(sb, addr, sizeofIRType(e->Iex.Load.ty), stored_next(in, i, addr), NULL);
      return 1;
   }
   case Ist_Store:
      type = typeOfIRExpr(sb->tyenv, st->Ist.Store.data);
      add_access(sb, st->Ist.Store.addr, sizeofIRType(type), True, NULL);
      return 1;
   case Ist_LoadG:
      typeOfIRLoadGOp(st->Ist.LoadG.details->cvt, &wide, &type);
      add_access(sb, st->Ist.LoadG.details->addr, sizeofIRType(type), False, st->Ist.LoadG.details->guard);
      return 1;
   case Ist_StoreG:
      type = typeOfIRExpr(sb->tyenv, st->Ist.StoreG.details->data);
      add_access(sb, st->Ist.StoreG.details->addr, sizeofIRType(type), True, st->Ist.StoreG.details->guard);
      return 1;
   case Ist_CAS: {  // a compare-and-swap takes the page for writing even when it fails
      const IRCAS* cas = st->Ist.CAS.details;
      Int size = sizeofIRType(typeOfIRExpr(sb->tyenv, cas->dataLo));
      add_access(sb, cas->addr, cas->dataHi ? 2 * size : size, True, NULL);
      return 1;
   }
   case Ist_LLSC: {
      IRExpr* data = st->Ist.LLSC.storedata;
      type = data ? typeOfIRExpr(sb->tyenv, data) : typeOfIRTemp(sb->tyenv, st->Ist.LLSC.result);
      add_access(sb, st->Ist.LLSC.addr, sizeofIRType(type), data != NULL, NULL);
      return 1;
   }
   case Ist_Dirty: {
      const IRDirty* d = st->Ist.Dirty.details;
      if (d->mFx == Ifx_None) return 0;
      add_access(sb, d->mAddr, d->mSize, d->mFx != Ifx_Read, d->guard);
      return 1;
   }
   default:
      return 0;
   }
}

static IRSB* instrument(VgCallbackClosure* closure, IRSB* in, const VexGuestLayout* layout, const VexGuestExtents* vge,
                        const VexArchInfo* host, IRType guest_word, IRType host_word)
{
   IRSB* sb = deepCopyIRSBExceptStmts(in);
   Addr code_page = ~(Addr)0;
   UInt count = 0;
   Bool started = False;  // what precedes the first IMark is Valgrind's own
   Int i;
   for (i = 0; i < in->stmts_used; i++) {
      IRStmt* st = in->stmts[i];
      if (st->tag == Ist_NoOp) continue;
      started |= st->tag == Ist_IMark;
      if (st->tag == Ist_IMark && clo_instr && st->Ist.IMark.len > 0) {
         // One touch a page of a block will do: its other instructions follow at once.
         Addr last = st->Ist.IMark.addr + st->Ist.IMark.len - 1;
         if (last >> clo_shift != code_page) {
            add_access(sb, u64(st->Ist.IMark.addr), st->Ist.IMark.len, False, NULL);
            count++;
         }
         code_page = last >> clo_shift;
      }
      if (started) count += add_statement(sb, in, i);
      if (st->tag == Ist_Exit) {
         add_count(sb, count);
         count = 0;
      }
      addStmtToIRSB(sb, st);
   }
   add_count(sb, count);
   return sb;
}

static Bool process_option(const HChar* arg)
{
   if VG_STR_CLO(arg, "--out", clo_out) {}
   else if VG_BINT_CLO(arg, "--window", clo_window, 1, MAX_WINDOW) {}
   else if VG_BINT_CLO(arg, "--page-shift", clo_shift, 12, 30) {}
   else if VG_BOOL_CLO(arg, "--instr", clo_instr) {}
   else if VG_BOOL_CLO(arg, "--files", clo_files) {}
   else return False;
   return True;
}

static void print_usage(void)
{
   VG_(printf)("    --out=DIR            directory for the files [required]\n"
               "    --window=1..%d     recent pages whose touches are dropped [64]\n"
               "    --page-shift=12..30  log2 of the page size [12]\n"
               "    --instr=no|yes       instruction fetches too [no]\n"
               "    --files=no|yes       pages of files never stored to as well [no]\n", MAX_WINDOW);
}

static void print_debug_usage(void) {}

static void post_clo_init(void)
{
   if (!clo_out) {
      VG_(fmsg)("pagetrace: --out=DIR is required\n");
      VG_(exit)(1);
   }
   own_pages = VG_(OSetWord_Create)(VG_(malloc), "pagetrace.own", VG_(free));
   begin();
}

static void fini(Int exitcode) { flush(); }

static void pre_clo_init(void)
{
   VG_(details_name)("pagetrace");
   VG_(details_version)(NULL);
   VG_(details_description)("page touches for swap simulations");
   VG_(details_copyright_author)("MIT licence, the swaptable developers.");
   VG_(details_bug_reports_to)("the swaptable developers");
   VG_(basic_tool_funcs)(post_clo_init, instrument, fini);
   VG_(needs_command_line_options)(process_option, print_usage, print_debug_usage);
   VG_(needs_syscall_wrapper)(pre_syscall, post_syscall);
   VG_(track_pre_mem_read)(kernel_reads);
   VG_(track_pre_mem_read_asciiz)(kernel_reads_text);
   VG_(track_post_mem_write)(kernel_wrote);
   VG_(atfork)(flush_parent, NULL, begin_child);
}

VG_DETERMINE_INTERFACE_VERSION(pre_clo_init)
