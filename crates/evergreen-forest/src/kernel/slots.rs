//! Which reading lies in which slot.
//!
//! The tops of the trees can ask only the first 256 slots, so what they ask comes first. The slots of one
//! feature's categories lie side by side, because they are filled with one copy.

use super::super::ensemble::{Ensemble, Target};
use super::super::number::Real;
use super::ask::{Ask, Reading, Readings};

/// Slots that a top can ask: a byte names them.
const IN_REACH: usize = 256;

/// Where everything lies.
#[derive(Debug)]
pub(super) struct Slots {
    /// The slot of each reading.
    pub(super) of_reading: Vec<u16>,
    /// Every split's question.
    pub(super) asks: Vec<Ask>,
    /// How many levels of every tree ask only slots in reach of a byte.
    pub(super) levels: usize,
    /// How many slots those levels ask at most, the zero slot included.
    pub(super) reach: usize,
    /// How many slots all levels ask, the zero slot included.
    pub(super) asked: usize,
}

impl Slots {
    /// Whether a byte can name whatever any split asks.
    pub(super) fn all_in_reach(&self) -> bool {
        self.asked <= IN_REACH
    }

    /// Gives slots out; `None` if there are too many readings.
    pub(super) fn new<T: Real>(
        ensemble: &Ensemble<T>,
        readings: &Readings<T>,
        levels: usize,
    ) -> Option<Self> {
        let depth_of = depths(ensemble);
        let (levels, mut order) = (0..=levels).rev().find_map(|levels| {
            let order = top(ensemble, readings, &depth_of, levels);
            (order.len() < IN_REACH).then_some((levels, order))
        })?;
        let reach = order.len() + 1;
        complete(readings, &mut order);
        // Two slots are kept for what every row has; see `Ranker::new`.
        u16::try_from(order.len() + 2).ok()?;
        let mut of_reading = vec![0u16; readings.all.len()];
        for (slot, reading) in (1u16..).zip(order) {
            *of_reading.get_mut(reading as usize)? = slot;
        }
        let asks = readings.of_split.iter().map(|(reading, rank)| {
            let slot = *of_reading.get(*reading as usize)?;
            Some(Ask { slot, rank: *rank })
        });
        Some(Self {
            asks: asks.collect::<Option<_>>()?,
            asked: readings.all.len() + 1,
            of_reading,
            levels,
            reach,
        })
    }
}

/// Splits above each split; parents come before children.
fn depths<T: Real>(ensemble: &Ensemble<T>) -> Vec<u16> {
    let mut depths = vec![0u16; ensemble.splits.len()];
    for (position, split) in ensemble.splits.iter().enumerate() {
        for child in [split.left, split.right] {
            if let Target::Split(child) = child.target() {
                depths[child] = depths[position] + 1;
            }
        }
    }
    depths
}

/// The readings that the first levels of all trees ask, with all sets of a feature where one is asked.
fn top<T: Real>(ensemble: &Ensemble<T>, readings: &Readings<T>, depth_of: &[u16], levels: usize) -> Vec<u32> {
    let mut asked = vec![false; readings.all.len()];
    for (position, (reading, _)) in readings.of_split.iter().enumerate() {
        if usize::from(depth_of[position]) < levels {
            asked[*reading as usize] = true;
        }
    }
    let mut set_asked = vec![false; ensemble.features];
    for (asked, reading) in asked.iter().zip(&readings.all) {
        if let (true, Reading::Member { feature, .. }) = (asked, reading) {
            set_asked[*feature as usize] = true;
        }
    }
    let wanted = |position: usize, reading: &Reading| match reading {
        Reading::Member { feature, .. } => set_asked[*feature as usize],
        _ => asked[position],
    };
    let all = readings.all.iter().enumerate();
    sorted(
        readings,
        all.filter(|(position, reading)| wanted(*position, reading))
            .map(|(position, _)| position),
    )
}

/// Appends what is not there yet.
fn complete<T>(readings: &Readings<T>, order: &mut Vec<u32>) {
    let mut placed = vec![false; readings.all.len()];
    for reading in order.iter() {
        placed[*reading as usize] = true;
    }
    let rest = (0..readings.all.len()).filter(|position| !placed[*position]);
    order.extend(sorted(readings, rest));
}

/// Numbers before categories, each by feature.
fn sorted<T>(readings: &Readings<T>, positions: impl Iterator<Item = usize>) -> Vec<u32> {
    let mut order: Vec<u32> = positions
        .filter_map(|position| u32::try_from(position).ok())
        .collect();
    order.sort_by_key(|position| {
        let reading = readings.all[*position as usize];
        (
            matches!(reading, Reading::Member { .. }),
            reading.feature(),
            *position,
        )
    });
    order
}
