//! A memory allocator for SQLite that counts the memory of each thread and enforces limits.
//!
//! SQLite's own limit (`sqlite3_hard_heap_limit64`, <https://sqlite.org/c3ref/hard_heap_limit64.html>) needs a mutex
//! around every allocation, and one statement that uses all of the memory makes all other statements fail. In this
//! module each run has its own limit. A run is the execution of one batch (or a part of it) on a connection. It stays
//! on one thread from beginning to end, so a thread-local counter is sufficient.
//!
//! The count is an estimate. It is too low if the run frees blocks that were allocated before it began or by another
//! thread. The count includes memory that outlives the run, such as pages in the connection's caches, so it can be too
//! high by the size of those caches.
//!
//! The blocks are allocated by the global allocator of the program.

use std::alloc::{Layout, alloc, dealloc, realloc};
use std::cell::{Cell, RefCell};
use std::ffi::{c_int, c_void};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use rusqlite::ffi;

/// The size of the header before each allocated block, in bytes. The header stores the length of the block.
const HEADER: usize = 8;
const ALIGN: usize = 8;
/// The length, in bytes, from which a block is large. Large blocks also count towards the limit of the whole process.
const LARGE: usize = 64 << 10;

thread_local! {
    /// The number of bytes that this thread has allocated since its run began, minus the number that it has freed.
    static USED: Cell<usize> = const { Cell::new(0) };
    static USED_MAX: Cell<usize> = const { Cell::new(usize::MAX) };
    /// The flag that another thread sets to end the run on this thread; `None` if the run has no such flag.
    static STOP: RefCell<Option<Arc<AtomicBool>>> = const { RefCell::new(None) };
    /// Counts the small allocations of this thread, so that only one in 256 checks the flag `STOP`.
    static ALLOCATIONS: Cell<u8> = const { Cell::new(0) };
    /// The reason why an allocation was refused since the run on this thread began; `None` if none was refused.
    static REFUSED: Cell<Option<Refused>> = const { Cell::new(None) };
}

/// The total size of all large blocks of the process, in bytes.
static LARGE_USED: AtomicUsize = AtomicUsize::new(0);
static LARGE_USED_MAX: AtomicUsize = AtomicUsize::new(usize::MAX);

/// The reason why an allocation was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    /// The run would have exceeded its own memory limit.
    Run,
    /// All runs of the process together would have exceeded their memory limit.
    Process,
    /// The run has been told to end, by the flag that was passed to [`begin_run`].
    Stop,
}

/// Makes SQLite allocate with the global allocator of the program and count the memory of each run, which gives
/// [`Options::memory_bytes_max`](crate::Options::memory_bytes_max) its effect. All runs of the process together may
/// allocate `bytes_max` bytes in blocks of 64 KiB or more.
///
/// Returns false if SQLite is already initialized. SQLite then keeps its own allocator, and memory is not limited.
///
/// # Safety
///
/// No other thread uses SQLite during the call (`sqlite3_config`, <https://sqlite.org/c3ref/config.html>). Call this
/// function at the beginning of `main`.
pub unsafe fn install_allocator(bytes_max: u64) -> bool {
    let methods = ffi::sqlite3_mem_methods {
        xMalloc: Some(x_malloc),
        xFree: Some(x_free),
        xRealloc: Some(x_realloc),
        xSize: Some(x_size),
        xRoundup: Some(x_roundup),
        xInit: Some(x_init),
        xShutdown: Some(x_shutdown),
        pAppData: std::ptr::null_mut(),
    };
    LARGE_USED_MAX.store(usize::try_from(bytes_max).unwrap_or(usize::MAX), Ordering::Relaxed);
    // SAFETY: SQLite copies the structure. It fails with SQLITE_MISUSE once it is initialized; before that, no block of
    // another allocator exists. The caller guarantees that no other thread uses SQLite.
    unsafe { ffi::sqlite3_config(ffi::SQLITE_CONFIG_MALLOC, &raw const methods) == ffi::SQLITE_OK }
}

/// Begins a run (the execution of a batch) on this thread. The run may allocate `bytes_max` bytes. Once `stop` is set,
/// its allocations fail.
///
/// SQLite checks its interrupt flag only at jumps of the bytecode. A statement without a loop, or one that takes a long
/// time to prepare, is ended much sooner by an allocation that fails.
pub(crate) fn begin_run(bytes_max: usize, stop: Option<&Arc<AtomicBool>>) {
    USED.set(0);
    USED_MAX.set(bytes_max);
    REFUSED.set(None);
    STOP.replace(stop.cloned());
}

/// Ends the run on this thread. Further allocations on this thread have no limit.
pub(crate) fn end_run() {
    USED_MAX.set(usize::MAX);
    STOP.replace(None);
    REFUSED.set(None);
}

/// The reason why an allocation was refused since the last run on this thread began; `None` if none was refused.
pub(crate) fn refused() -> Option<Refused> {
    REFUSED.get()
}

/// Adds `bytes` to the count of allocated memory and returns true. If that would exceed a limit, or the run has been
/// told to end, returns false and adds nothing.
fn charge(bytes: usize) -> bool {
    let used = USED.get().saturating_add(bytes);
    if used > USED_MAX.get() {
        REFUSED.set(Some(Refused::Run));
        return false;
    }
    let count = ALLOCATIONS.get().wrapping_add(1);
    ALLOCATIONS.set(count);
    if (bytes >= LARGE || count == 0) && must_stop() {
        REFUSED.set(Some(Refused::Stop));
        return false;
    }
    if bytes >= LARGE && !charge_large(bytes) {
        return false;
    }
    USED.set(used);
    true
}

/// Returns whether the run on this thread has been told to end. Returns false if the thread-local variable has already
/// been destroyed: SQLite also frees and allocates memory while a thread ends.
#[cold]
fn must_stop() -> bool {
    STOP.try_with(|stop| stop.borrow().as_ref().is_some_and(|stop| stop.load(Ordering::Relaxed))).unwrap_or(false)
}

#[cold]
fn charge_large(bytes: usize) -> bool {
    let before = LARGE_USED.fetch_add(bytes, Ordering::Relaxed);
    let is_limited = USED_MAX.get() != usize::MAX;
    if is_limited && before.saturating_add(bytes) > LARGE_USED_MAX.load(Ordering::Relaxed) {
        LARGE_USED.fetch_sub(bytes, Ordering::Relaxed);
        REFUSED.set(Some(Refused::Process));
        return false;
    }
    true
}

/// Adds `bytes` to the count of allocated memory, regardless of the limits.
fn charge_unlimited(bytes: usize) {
    USED.set(USED.get().saturating_add(bytes));
    if bytes >= LARGE {
        LARGE_USED.fetch_add(bytes, Ordering::Relaxed);
    }
}

fn release(bytes: usize) {
    USED.set(USED.get().saturating_sub(bytes));
    if bytes >= LARGE {
        LARGE_USED.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// The layout of a block of `bytes` bytes with its header; `None` if it exceeds the address space.
fn layout(bytes: usize) -> Option<Layout> {
    Layout::from_size_align(bytes.checked_add(HEADER)?, ALIGN).ok()
}

/// Reads the length of a block from its header, in bytes.
///
/// # Safety
///
/// The pointer was returned by [`x_malloc`] or [`x_realloc`], and has not been freed.
unsafe fn length_of(block: *mut c_void) -> usize {
    // SAFETY: `with_header` has written the length `HEADER` bytes before the block, aligned to [`ALIGN`].
    unsafe { block.cast::<u8>().sub(HEADER).cast::<usize>().read() }
}

/// Writes the header of a block at `start`, and returns the address of the block after the header. If `start` is null,
/// the allocation has failed, and `bytes` is subtracted from the count again.
///
/// # Safety
///
/// `start` is null or points to `HEADER + bytes` bytes, aligned to [`ALIGN`].
unsafe fn with_header(start: *mut u8, bytes: usize) -> *mut c_void {
    if start.is_null() {
        release(bytes);
        return std::ptr::null_mut();
    }
    // SAFETY: `start` is not null here, and the caller guarantees its size and alignment.
    unsafe {
        start.cast::<usize>().write(bytes);
        start.add(HEADER).cast()
    }
}

unsafe extern "C" fn x_malloc(bytes: c_int) -> *mut c_void {
    let Ok(bytes) = usize::try_from(bytes) else { return std::ptr::null_mut() };
    let Some(layout) = layout(bytes) else { return std::ptr::null_mut() };
    if !charge(bytes) {
        return std::ptr::null_mut();
    }
    // SAFETY: the size of the layout is not 0, because it includes the header. `alloc` returns null or memory of that
    // layout.
    unsafe { with_header(alloc(layout), bytes) }
}

unsafe extern "C" fn x_free(block: *mut c_void) {
    if block.is_null() {
        return;
    }
    // SAFETY: SQLite passes each block that `x_malloc` or `x_realloc` returned to this function once. The layout is the
    // one that the block was allocated with, because it is computed from the length in its header.
    unsafe {
        let bytes = length_of(block);
        release(bytes);
        if let Some(layout) = layout(bytes) {
            dealloc(block.cast::<u8>().sub(HEADER), layout);
        }
    }
}

unsafe extern "C" fn x_realloc(block: *mut c_void, bytes: c_int) -> *mut c_void {
    let Ok(bytes) = usize::try_from(bytes) else { return std::ptr::null_mut() };
    // SAFETY: SQLite passes a block that `x_malloc` or `x_realloc` returned, never null. `old` is the layout that it
    // was allocated with. If `realloc` fails, the old block stays valid, and its length is counted again.
    unsafe {
        let before = length_of(block);
        let (Some(old), Some(new)) = (layout(before), layout(bytes)) else { return std::ptr::null_mut() };
        release(before);
        let moved = if charge(bytes) {
            with_header(realloc(block.cast::<u8>().sub(HEADER), old, new.size()), bytes)
        } else {
            std::ptr::null_mut()
        };
        if moved.is_null() {
            charge_unlimited(before);
        }
        moved
    }
}

unsafe extern "C" fn x_size(block: *mut c_void) -> c_int {
    if block.is_null() {
        return 0;
    }
    // SAFETY: `block` is not null here; SQLite passes blocks that `x_malloc` or `x_realloc` returned.
    let bytes = unsafe { length_of(block) };
    c_int::try_from(bytes).unwrap_or(c_int::MAX)
}

unsafe extern "C" fn x_roundup(bytes: c_int) -> c_int {
    bytes.saturating_add(7) & !7
}

unsafe extern "C" fn x_init(_: *mut c_void) -> c_int {
    ffi::SQLITE_OK
}

unsafe extern "C" fn x_shutdown(_: *mut c_void) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_that_has_to_end_gets_no_more_memory() {
        let stop = Arc::new(AtomicBool::new(false));
        begin_run(usize::MAX, Some(&stop));
        // SAFETY: the blocks are used as SQLite uses them: each is freed once, with its own function.
        unsafe {
            x_free(x_malloc(LARGE as c_int));
            stop.store(true, Ordering::Relaxed);
            assert!(x_malloc(LARGE as c_int).is_null());
            assert_eq!(refused(), Some(Refused::Stop));
            let small: Vec<_> = (0..256).map(|_| x_malloc(8)).collect();
            assert_eq!(small.iter().filter(|block| block.is_null()).count(), 1);
            small.into_iter().for_each(|block| x_free(block));
            end_run();
            let block = x_malloc(LARGE as c_int);
            assert!(!block.is_null());
            x_free(block);
        }
    }

    #[test]
    fn blocks_grow_and_keep_their_content() {
        begin_run(1000, None);
        // SAFETY: the blocks are used as SQLite uses them: each is freed once, with its own function.
        unsafe {
            let block = x_malloc(100);
            block.cast::<u8>().write_bytes(7, 100);
            assert_eq!(x_size(block), 100);
            assert!(x_realloc(block, 2000).is_null());
            assert_eq!((refused(), x_size(block)), (Some(Refused::Run), 100));
            let block = x_realloc(block, 800);
            assert_eq!((x_size(block), block.cast::<u8>().add(99).read()), (800, 7));
            x_free(block);
            assert_eq!(USED.get(), 0);
        }
        end_run();
    }

    /// The limit is far above the blocks that other tests allocate at the same time.
    #[test]
    fn all_runs_together_have_a_limit_for_large_blocks() {
        const HUGE: usize = 1 << 30;
        LARGE_USED_MAX.store(2 * HUGE + HUGE / 2, Ordering::Relaxed);
        begin_run(8 * HUGE, None);
        assert!(charge(HUGE));
        let elsewhere = std::thread::spawn(|| {
            begin_run(8 * HUGE, None);
            let taken = [charge(HUGE), charge(HUGE)];
            let why = refused();
            // Small blocks do not count towards the limit of the process.
            assert!((0..3 * HUGE / (LARGE - 1)).all(|_| charge(LARGE - 1)));
            end_run();
            // The engine's own work, which has no limit for its run, is not limited by the process either.
            assert!(charge(HUGE));
            release(HUGE);
            (taken, why)
        });
        assert_eq!(elsewhere.join().unwrap(), ([true, false], Some(Refused::Process)));
        assert!(!charge(HUGE));
        assert_eq!(refused(), Some(Refused::Process));
        // This thread frees the first block of the other thread.
        release(HUGE);
        assert!(charge(HUGE));
        release(HUGE);
        release(HUGE);
        end_run();
        LARGE_USED_MAX.store(usize::MAX, Ordering::Relaxed);
    }
}
