//! Runs `rollcall`: the command line decides what, its exit code tells how it went.

/// Deliveries are many small allocations on one thread that are freed on another, which glibc's allocator is slow at.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> std::process::ExitCode {
    rollcall::cli::run()
}
