//! Checks that a prediction of one row does not allocate after the first call, with every kernel.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    unsafe_code,
    reason = "a test that fails should stop; counting allocations needs an allocator"
)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::path::Path;

use evergreen_forest::{Forest, KernelName, LoadOptions, OutputKind, Scratch};

/// The system allocator with a counter.
struct Counting;

thread_local! {
    static ALLOCATED: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: every call is passed on to the system allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATED.with(|count| count.set(count.get() + 1));
        // SAFETY: guaranteed by the caller.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: guaranteed by the caller.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// One model per kind of tree.
const MODELS: [&str; 6] = [
    "models/churn/1/model.ubj",
    "tests/forest/fixtures/lightgbm/4.7.0/multiclass.txt",
    "tests/forest/fixtures/lightgbm/4.0.0/category.txt",
    "tests/forest/fixtures/lightgbm/4.0.0/linear-tree.txt",
    "tests/forest/fixtures/xgboost/2.1.4/dart-classes.json",
    "tests/forest/fixtures/catboost/1.2.10/Logloss.json",
];

#[test]
fn predicting_a_row_does_not_allocate() {
    for path in MODELS {
        let bytes =
            std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)).expect(path);
        let kernels = KernelName::ALL.into_iter().filter(|name| name.available());
        for kernel in std::iter::once(None).chain(kernels.map(Some)) {
            let options = LoadOptions {
                kernel,
                ..LoadOptions::default()
            };
            // Not every kernel takes every model.
            let Ok(forest) = Forest::from_bytes(&bytes, &options) else {
                assert!(kernel.is_some_and(|name| name != KernelName::Scalar), "{path}");
                continue;
            };
            one_row(&forest, path);
        }
    }
}

fn one_row(forest: &Forest, path: &str) {
    let mut scratch = Scratch::default();
    let row = vec![0.5f64; forest.features().len()];
    for kind in [OutputKind::Margin, OutputKind::Value, OutputKind::Contributions] {
        // Linear leaves have no contributions.
        let Ok(width) = forest.width(kind) else {
            assert_eq!(kind, OutputKind::Contributions, "{path}");
            continue;
        };
        let mut out = vec![0.0; width];
        for round in 0..3 {
            let before = ALLOCATED.get();
            forest
                .predict(kind, &row, &mut out, &mut scratch)
                .expect("a prediction");
            let allocated = ALLOCATED.get() - before;
            assert!(
                round == 0 || allocated == 0,
                "{path}, {}, {kind}: {allocated} allocations",
                forest.kernels()
            );
        }
    }
}
