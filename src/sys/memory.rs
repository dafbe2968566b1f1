//! The allocator: a lack of memory must not end PID 1.
//!
//! Rust aborts the process when an allocation fails. Here an allocation that fails (RLIMIT_AS, or no free memory) is served from a
//! reserve. If the reserve is used up too, the process waits until memory is free again, once [`wait_for_memory`] was called. Before
//! that call it aborts as usual: a start without enough memory must fail, not hang.
//!
//! Only another process can end that wait. Memory for as many bytes as a client or a file chooses is therefore allocated in
//! [`fallible`], which reports the failure.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::UnsafeCell;
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use super::poll::pause;

/// Enough for several turns of the loop. The reserve uses no memory until its pages are written to.
const RESERVE_BYTES: usize = 512 * 1024;

/// The pause between two attempts to allocate, in milliseconds.
const WAIT_MS: u16 = 20;

#[global_allocator]
static ALLOCATOR: Reserving<System, RESERVE_BYTES> = Reserving::new(System);

/// From now on an allocation that fails waits for memory, however long that takes. Call it when the start has succeeded.
pub fn wait_for_memory() {
    ALLOCATOR.waits.store(true, Ordering::Relaxed);
}

/// Runs `grow`, in which an allocation that fails returns its error: it neither takes from the reserve nor waits. Every allocation in
/// `grow` must be one that can return an error, such as `try_reserve`.
pub fn fallible<T>(grow: impl FnOnce() -> T) -> T {
    ALLOCATOR.may_fail.store(true, Ordering::Relaxed);
    let grown = grow();
    ALLOCATOR.may_fail.store(false, Ordering::Relaxed);
    grown
}

/// Whether `bytes` can be allocated now, in one block.
pub fn has_room(bytes: usize) -> bool {
    let mut block = Vec::<u8>::new();
    let is_allocated = fallible(|| block.try_reserve_exact(bytes)).is_ok();
    // The compiler must not remove the allocation.
    std::hint::black_box(&block);
    is_allocated
}

/// Whether an allocation outside of [`fallible`] has failed since the last call.
pub fn has_failed() -> bool {
    ALLOCATOR.has_failed.swap(false, Ordering::Relaxed)
}

/// An allocator with a reserve of `BYTES`, for when the inner allocator fails.
struct Reserving<A, const BYTES: usize> {
    inner: A,
    reserve: UnsafeCell<MaybeUninit<[u8; BYTES]>>,
    marks: Mutex<Marks>,
    waits: AtomicBool,
    may_fail: AtomicBool,
    has_failed: AtomicBool,
}

/// The used part of the reserve. Blocks follow one another. Space is free again if the last block is freed, or all blocks.
struct Marks {
    /// Offset after the last block.
    used: usize,
    blocks: usize,
}

// SAFETY: each part of the reserve has one owner, and parts are handed out under the lock of `marks`.
unsafe impl<A: Sync, const BYTES: usize> Sync for Reserving<A, BYTES> {}

impl<A: GlobalAlloc, const BYTES: usize> Reserving<A, BYTES> {
    const fn new(inner: A) -> Self {
        Self {
            inner,
            reserve: UnsafeCell::new(MaybeUninit::uninit()),
            marks: Mutex::new(Marks { used: 0, blocks: 0 }),
            waits: AtomicBool::new(false),
            may_fail: AtomicBool::new(false),
            has_failed: AtomicBool::new(false),
        }
    }

    fn base(&self) -> *mut u8 {
        self.reserve.get().cast()
    }

    /// The offset of a block in the reserve; `None`: the block belongs to the inner allocator.
    fn offset(&self, block: *mut u8) -> Option<usize> {
        block.addr().checked_sub(self.base().addr()).filter(|&offset| offset < BYTES)
    }

    /// A block of the reserve, if there is room.
    fn take_reserve(&self, layout: Layout) -> Option<*mut u8> {
        let mut marks = self.marks.lock().unwrap_or_else(PoisonError::into_inner);
        let base = self.base().addr();
        let begin = base.checked_add(marks.used)?.checked_next_multiple_of(layout.align())?.checked_sub(base)?;
        let end = begin.checked_add(layout.size()).filter(|&end| end <= BYTES)?;
        *marks = Marks { used: end, blocks: marks.blocks.checked_add(1)? };
        Some(self.base().wrapping_add(begin))
    }

    fn give_back(&self, offset: usize, size: usize) {
        let mut marks = self.marks.lock().unwrap_or_else(PoisonError::into_inner);
        marks.blocks = marks.blocks.saturating_sub(1);
        if marks.blocks == 0 {
            marks.used = 0;
        } else if offset.checked_add(size) == Some(marks.used) {
            marks.used = offset;
        }
    }

    /// A block from the reserve, or from the inner allocator after a wait. Null only if it may fail or must not wait.
    #[cold]
    fn alloc_after_failure(&self, layout: Layout) -> *mut u8 {
        if self.may_fail.load(Ordering::Relaxed) {
            return ptr::null_mut();
        }
        self.has_failed.store(true, Ordering::Relaxed);
        loop {
            if let Some(block) = self.take_reserve(layout) {
                return block;
            }
            if !self.waits.load(Ordering::Relaxed) {
                return ptr::null_mut();
            }
            pause(WAIT_MS);
            // SAFETY: the layout is the caller's.
            let block = unsafe { self.inner.alloc(layout) };
            if !block.is_null() {
                return block;
            }
        }
    }
}

// SAFETY: each block belongs to the inner allocator or is a part of the reserve that overlaps no other block. It is freed there.
unsafe impl<A: GlobalAlloc, const BYTES: usize> GlobalAlloc for Reserving<A, BYTES> {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise.
        let block = unsafe { self.inner.alloc(layout) };
        if block.is_null() { self.alloc_after_failure(layout) } else { block }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise.
        let block = unsafe { self.inner.alloc_zeroed(layout) };
        if !block.is_null() {
            return block;
        }
        let block = self.alloc_after_failure(layout);
        if !block.is_null() {
            // SAFETY: a new block of this size.
            unsafe { block.write_bytes(0, layout.size()) };
        }
        block
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        match self.offset(block) {
            Some(offset) => self.give_back(offset, layout.size()),
            // SAFETY: the block is not in the reserve, so it belongs to the inner allocator.
            None => unsafe { self.inner.dealloc(block, layout) },
        }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if self.offset(block).is_none() {
            // SAFETY: the block belongs to the inner allocator; the caller promises the rest.
            let moved = unsafe { self.inner.realloc(block, layout, size) };
            if !moved.is_null() {
                return moved;
            }
        }
        // SAFETY: the caller promises that the size is not 0 and does not overflow with this alignment.
        let wanted = unsafe { Layout::from_size_align_unchecked(size, layout.align()) };
        // SAFETY: as above.
        let moved = unsafe { self.alloc(wanted) };
        if !moved.is_null() {
            // SAFETY: both blocks are live, have at least this size, and do not overlap.
            unsafe { ptr::copy_nonoverlapping(block, moved, layout.size().min(size)) };
            // SAFETY: the caller's block, which is no longer used.
            unsafe { self.dealloc(block, layout) };
        }
        moved
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fails while the flag is set.
    struct FailingAllocator(AtomicBool);

    // SAFETY: it calls the system's allocator, or fails.
    unsafe impl GlobalAlloc for FailingAllocator {
        unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
            // SAFETY: the caller's promise.
            if self.0.load(Ordering::Relaxed) { ptr::null_mut() } else { unsafe { System.alloc(layout) } }
        }
        unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
            // SAFETY: the caller's promise.
            unsafe { System.dealloc(block, layout) }
        }
    }

    fn layout(size: usize, align: usize) -> Layout {
        Layout::from_size_align(size, align).unwrap()
    }

    #[test]
    fn a_failed_allocation_uses_the_reserve_which_is_free_again_after_all_blocks() {
        let allocator: Reserving<_, 1024> = Reserving::new(FailingAllocator(AtomicBool::new(true)));
        for _ in 0..3 {
            // SAFETY: blocks are used within their sizes and freed once, with their layouts.
            unsafe {
                let a = allocator.alloc(layout(100, 1));
                let b = allocator.alloc_zeroed(layout(100, 64));
                assert!(!a.is_null() && !b.is_null());
                assert_eq!(b.addr() % 64, 0);
                assert!((0..100).all(|n| *b.add(n) == 0));
                a.write_bytes(7, 100);
                b.write_bytes(8, 100);
                let a = allocator.realloc(a, layout(100, 1), 300);
                assert!((0..100).all(|n| *a.add(n) == 7 && *b.add(n) == 8));
                assert!(allocator.alloc(layout(1000, 1)).is_null(), "no room, and no wait");
                allocator.dealloc(b, layout(100, 64));
                allocator.dealloc(a, layout(300, 1));
                let all = allocator.alloc(layout(1024, 1));
                assert!(!all.is_null());
                allocator.dealloc(all, layout(1024, 1));
            }
        }
        assert!(allocator.has_failed.load(Ordering::Relaxed));
    }

    #[test]
    fn an_allocation_that_may_fail_takes_nothing_from_the_reserve_and_does_not_wait() {
        let allocator: Reserving<_, 1024> = Reserving::new(FailingAllocator(AtomicBool::new(true)));
        allocator.waits.store(true, Ordering::Relaxed);
        allocator.may_fail.store(true, Ordering::Relaxed);
        // SAFETY: as above.
        unsafe {
            assert!(allocator.alloc(layout(100, 1)).is_null());
            assert!(allocator.alloc_zeroed(layout(100, 1)).is_null());
        }
        assert!(!allocator.has_failed.load(Ordering::Relaxed));
        assert!(has_room(1 << 20) && !has_room(usize::MAX >> 1));
    }

    #[test]
    fn a_block_of_the_reserve_moves_to_the_inner_allocator_when_there_is_memory() {
        let allocator: Reserving<_, 1024> = Reserving::new(FailingAllocator(AtomicBool::new(true)));
        // SAFETY: as above.
        unsafe {
            let block = allocator.alloc(layout(10, 1));
            block.write_bytes(5, 10);
            allocator.inner.0.store(false, Ordering::Relaxed);
            let block = allocator.realloc(block, layout(10, 1), 20);
            assert!(allocator.offset(block).is_none());
            assert_eq!(*block.add(9), 5);
            allocator.dealloc(block, layout(20, 1));
        }
        assert_eq!(allocator.marks.lock().unwrap().blocks, 0);
    }

    #[test]
    fn an_allocation_waits_until_there_is_memory() {
        let allocator: Reserving<_, 64> = Reserving::new(FailingAllocator(AtomicBool::new(true)));
        allocator.waits.store(true, Ordering::Relaxed);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                pause(3 * WAIT_MS);
                allocator.inner.0.store(false, Ordering::Relaxed);
            });
            // SAFETY: as above.
            unsafe {
                let block = allocator.alloc(layout(100, 1));
                assert!(!block.is_null());
                allocator.dealloc(block, layout(100, 1));
            }
        });
    }
}
