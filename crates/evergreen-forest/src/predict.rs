//! Predictions: prepares rows, calls the kernel and writes an output.

use crate::contributions::ExplainScratch;
use crate::ensemble::Ensemble;
use crate::kernel::KernelFloat;
use crate::kernel::{Kernel, KernelScratch, scalar};
use crate::transform::position_of_max;
use crate::{ClassRule, Forest, Number, OutputKind, PredictError, TreeModel, Trees};

/// Rows evaluated together: enough to share a kernel's set-up, few enough to stay in the cache.
const BLOCK: usize = 256;

/// Working memory of predictions. Use one per thread. It grows on first use; later predictions do not
/// allocate.
///
/// A scratch may be used with any number of models.
#[derive(Debug, Default)]
pub struct Scratch {
    narrow: PredictBuffers<f32>,
    wide: PredictBuffers<f64>,
    row: RowBuffers,
}

/// One row's margins and values.
#[derive(Debug, Default)]
struct RowBuffers {
    margins: Vec<f64>,
    values: Vec<f64>,
}

/// Working memory for one float type.
#[derive(Debug, Default)]
pub(super) struct PredictBuffers<T> {
    rows: Vec<T>,
    sums: Vec<T>,
    work: KernelScratch,
    explain: ExplainScratch,
}

impl Forest {
    /// Returns the numbers per row of an output.
    ///
    /// # Errors
    /// [`PredictError::Unsupported`] if the model has no such output.
    pub fn width(&self, kind: OutputKind) -> Result<usize, PredictError> {
        let unsupported = |why| Err(PredictError::Unsupported(kind, why));
        match kind {
            OutputKind::Margin => Ok(self.summary.groups),
            OutputKind::Value => Ok(self.transform.width(self.summary.groups)),
            OutputKind::Class if self.classes == ClassRule::None => {
                unsupported("its objective has no classes")
            }
            OutputKind::Class => Ok(1),
            OutputKind::Leaf => Ok(self.summary.trees),
            OutputKind::Contributions => match self.contributions {
                Err(why) => unsupported(why),
                Ok(()) => Ok(self.summary.groups * (self.features.len() + 1)),
            },
            OutputKind::Interactions => match self.contributions {
                Err(why) => unsupported(why),
                Ok(()) => {
                    let side = self.features.len() + 1;
                    side.checked_mul(side)
                        .and_then(|matrix| matrix.checked_mul(self.summary.groups))
                        .map_or_else(|| unsupported("it has too many features"), Ok)
                }
            },
        }
    }

    /// Predicts many rows.
    ///
    /// `rows` is row-major, `n × features().len()`; NaN means missing. `out` is row-major, `n × width(kind)`.
    /// Results of a model of [`Precision::F32`](crate::Precision::F32) are `f32` numbers converted to `f64`.
    ///
    /// # Errors
    /// [`PredictError::Unsupported`] if the model has no such output; [`PredictError::Length`] if a buffer
    /// has the wrong length.
    pub fn predict<X: Number>(
        &self,
        kind: OutputKind,
        rows: &[X],
        out: &mut [f64],
        scratch: &mut Scratch,
    ) -> Result<(), PredictError> {
        let width = self.width(kind)?;
        self.check_lengths(rows.len(), out.len(), width)?;
        let Scratch { narrow, wide, row } = scratch;
        match &self.trees {
            Trees::F32(trees) => self.predict_in(trees, kind, rows, out, narrow, row),
            Trees::F64(trees) => self.predict_in(trees, kind, rows, out, wide, row),
        }
        Ok(())
    }

    fn check_lengths(&self, rows: usize, out: usize, width: usize) -> Result<(), PredictError> {
        let features = self.features.len();
        // A loaded model has at least one feature.
        let count = rows / features.max(1);
        for (what, got, expected) in [("rows", rows, count * features), ("out", out, count * width)] {
            if got != expected {
                return Err(PredictError::Length { what, got, expected });
            }
        }
        Ok(())
    }

    /// Predicts block by block. The lengths have been checked.
    fn predict_in<X: Number, T: KernelFloat>(
        &self,
        trees: &TreeModel<T>,
        kind: OutputKind,
        rows: &[X],
        out: &mut [f64],
        buffers: &mut PredictBuffers<T>,
        row: &mut RowBuffers,
    ) {
        let TreeModel { ensemble, kernel, .. } = trees;
        let features = ensemble.features;
        let width = out.len() / (rows.len() / features).max(1);
        if width == 0 {
            return;
        }
        for (rows, out) in rows.chunks(BLOCK * features).zip(out.chunks_mut(BLOCK * width)) {
            buffers.rows.resize(rows.len(), T::ZERO);
            let prepared = buffers.rows.chunks_exact_mut(features);
            for (raw, prepared) in rows.chunks_exact(features).zip(prepared) {
                ensemble.prepare(raw, prepared);
            }
            match kind {
                OutputKind::Margin | OutputKind::Value | OutputKind::Class => {
                    buffers.margins(ensemble, kernel);
                    self.write(kind, &buffers.sums, out, row);
                }
                OutputKind::Leaf => leaves(ensemble, &buffers.rows, out),
                OutputKind::Contributions => {
                    let explainer = trees.explainer();
                    explainer.contributions(ensemble, &buffers.rows, out, &mut buffers.explain);
                }
                OutputKind::Interactions => {
                    let explainer = trees.interactions();
                    explainer.interactions(ensemble, &buffers.rows, out, &mut buffers.explain);
                }
            }
        }
    }

    /// Writes margins, values or classes, row by row.
    fn write<T: KernelFloat>(&self, kind: OutputKind, sums: &[T], out: &mut [f64], row: &mut RowBuffers) {
        let groups = self.summary.groups;
        let rows = sums.len() / groups;
        let width = out.len() / rows.max(1);
        for (sums, out) in sums.chunks_exact(groups).zip(out.chunks_exact_mut(width)) {
            row.margins.clear();
            row.margins.extend(sums.iter().map(|sum| sum.to_f64()));
            match kind {
                OutputKind::Value => self.transform.apply(&row.margins, out),
                OutputKind::Class => self.class(row, out),
                _ => out.copy_from_slice(&row.margins),
            }
        }
    }

    fn class(&self, row: &mut RowBuffers, out: &mut [f64]) {
        let RowBuffers { margins, values } = row;
        let class = match self.classes {
            ClassRule::GreatestValue => {
                values.clear();
                values.resize(self.transform.width(margins.len()), 0.0);
                self.transform.apply(margins, values);
                position_of_max(values)
            }
            ClassRule::None | ClassRule::GreatestMargin => position_of_max(margins),
            ClassRule::MarginAbove(border) => {
                let second = margins.first().is_some_and(|margin| *margin > border);
                f64::from(u8::from(second))
            }
            ClassRule::ValueAbove(threshold) => {
                self.transform.apply(margins, out);
                let second = out.first().is_some_and(|value| *value > threshold);
                f64::from(u8::from(second))
            }
        };
        if let Some(out) = out.first_mut() {
            *out = class;
        }
    }
}

impl<T: KernelFloat> PredictBuffers<T> {
    /// Computes the margins of the prepared rows into `sums`.
    fn margins(&mut self, ensemble: &Ensemble<T>, kernel: &Kernel<T>) {
        self.sums.clear();
        for _ in 0..self.rows.len() / ensemble.features {
            self.sums.extend_from_slice(&ensemble.base);
        }
        kernel.add_leaves(ensemble, &self.rows, &mut self.sums, &mut self.work);
        for sums in self.sums.chunks_exact_mut(ensemble.groups) {
            ensemble.finish(sums);
        }
    }
}

/// Writes the number of the leaf that each row reaches in each tree.
fn leaves<T: KernelFloat>(ensemble: &Ensemble<T>, rows: &[T], out: &mut [f64]) {
    let rows = rows.chunks_exact(ensemble.features);
    for (row, out) in rows.zip(out.chunks_exact_mut(ensemble.trees.len())) {
        for (tree, out) in ensemble.trees.iter().zip(out) {
            let leaf = scalar::leaf_of(ensemble, tree.root, row);
            *out = f64::from(ensemble.leaves[leaf].id);
        }
    }
}
