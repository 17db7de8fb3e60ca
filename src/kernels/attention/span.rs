//! One span of a sequence: what some rows' heads make of up to a few panels of keys and values that they share.
//!
//! A score is a sum over d and a mixed value a sum over the span's positions, each in its order and by itself, so
//! how many rows are taken at a time changes no bit of them.

use std::ops::Range;

use super::super::simd::{Tier, exp_shifted, max};
use super::cells::{Cell, SHARE};
use super::lanes::{LANES, Lanes};
use super::pages::{Panel, Part};

/// Panels of a span at most: keys and values of one head stay in a core's first cache.
pub(super) const PANELS: usize = 8;
pub(super) const COLUMNS: usize = PANELS * LANES;
/// Most query heads that any tier takes at a time.
const MOST: usize = 8;

/// Query heads of some rows over a span.
pub(super) struct Span<'a, T> {
    pub panels: &'a [Panel<'a, T>],
    pub part: Part,
    /// Query heads of a row.
    pub share: usize,
    /// The heads that are taken together, [rows, share] counted through: see [`groups`].
    pub groups: &'a [Range<usize>],
    /// Of each group [d, heads], turned and scaled.
    pub q: &'a [f32],
    /// The columns, 16 a panel, between which each row sees; empty where it sees none.
    pub seen: &'a [Range<usize>],
    /// Columns that are no positions: what fills up blocks to whole panels.
    pub holes: &'a [Range<usize>],
}

/// Cuts the heads of some rows into groups that a tier takes at a time and that share loads: some of one row, or all of
/// several.
pub(super) fn groups(tier: Tier, rows: usize, share: usize) -> Vec<Range<usize>> {
    let most = match tier {
        #[cfg(target_arch = "x86_64")]
        Tier::Avx512 => <std::arch::x86_64::__m512 as Lanes>::ROWS,
        _ => <[f32; LANES] as Lanes>::ROWS,
    };
    let (rows_of, heads_of) = match share <= most {
        true => (most / share, share),
        // In even parts.
        false => (1, share.div_ceil(share.div_ceil(most))),
    };
    let whole = (0..rows)
        .step_by(rows_of)
        .map(|row| row * share..(row + rows_of).min(rows) * share);
    let size = if rows_of == 1 { heads_of } else { most };
    let cut = |heads: Range<usize>| {
        let starts = heads.clone().step_by(size);
        starts.map(move |start| start..(start + size).min(heads.end))
    };
    whole.flat_map(cut).collect()
}

/// What a span gives each row's heads: the largest score, the sum of exponentials against it, and the values mixed with
/// these exponentials. A sum of 0 where a row sees nothing of the span.
#[derive(Default)]
pub(super) struct Mixed {
    heads: usize,
    numbers: Vec<f32>,
}

pub(super) struct Parts<T> {
    /// [rows · share] each
    pub tops: T,
    pub sums: T,
    /// [rows · share, padded d]
    pub values: T,
}

impl Mixed {
    pub fn nothing(heads: usize, padded: usize) -> Self {
        Self {
            heads,
            numbers: vec![0.0; heads * (2 + padded)],
        }
    }

    pub fn parts(&self) -> Parts<&[f32]> {
        let (tops, rest) = self.numbers.split_at(self.heads);
        let (sums, values) = rest.split_at(self.heads);
        Parts { tops, sums, values }
    }

    pub fn parts_mut(&mut self) -> Parts<&mut [f32]> {
        let (tops, rest) = self.numbers.split_at_mut(self.heads);
        let (sums, values) = rest.split_at_mut(self.heads);
        Parts { tops, sums, values }
    }
}

impl<T: Cell> Span<'_, T> {
    /// Takes the span with the instructions of a tier.
    pub fn mix(&self, tier: Tier, mixed: &mut Mixed) {
        let parts = mixed.parts_mut();
        self.check(&parts);
        parts.sums.fill(0.0);
        match tier {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: a tier is only named where the processor has it, and `check` has seen all sizes.
            Tier::Avx512 => unsafe { avx512(self, parts) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: as above.
            Tier::Avx2 => unsafe { avx2(self, parts) },
            // SAFETY: as above; this tier needs no instructions of its own.
            _ => unsafe { all_groups::<T, [f32; LANES]>(self, parts) },
        }
    }

    /// Everything the loops rely on.
    fn check(&self, mixed: &Parts<&mut [f32]>) {
        let (part, columns) = (self.part, self.panels.len() * LANES);
        let heads = self.seen.len() * self.share;
        let scales = if T::SCALED { part.shares() * LANES } else { 0 };
        let whole = |panel: &Panel<'_, T>| {
            panel.keys.len() == part.dim * LANES
                && panel.values.len() == part.padded() * LANES
                && panel.key_scales.len() == scales
                && panel.value_scales.len() == scales
        };
        let inside = |range: &Range<usize>| range.end <= columns;
        let small = |group: &Range<usize>| group.end <= heads && (1..=MOST).contains(&group.len());
        assert!(
            self.share > 0
                && self.panels.len() <= PANELS
                && self.q.len() == heads * part.dim
                && self.groups.iter().all(small)
                && self.panels.iter().all(whole)
                && self.seen.iter().chain(self.holes).all(inside)
                && mixed.tops.len() == heads
                && mixed.sums.len() == heads
                && mixed.values.len() == heads * part.padded(),
            "a span of {columns} columns for {heads} heads"
        );
    }
}

/// # Safety
/// The processor has AVX-512 F, BW, VL and DQ; [`Span::check`] has passed.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512dq")]
unsafe fn avx512<T: Cell>(span: &Span<'_, T>, mixed: Parts<&mut [f32]>) {
    // SAFETY: as this function demands.
    unsafe { all_groups::<T, std::arch::x86_64::__m512>(span, mixed) }
}

/// # Safety
/// The processor has AVX2, FMA and F16C; the rest as [`avx512`].
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn avx2<T: Cell>(span: &Span<'_, T>, mixed: Parts<&mut [f32]>) {
    // SAFETY: as this function demands.
    unsafe { all_groups::<T, [std::arch::x86_64::__m256; 2]>(span, mixed) }
}

/// Scores of a group's heads, then their weights.
type Scores = [[f32; COLUMNS]; MOST];

/// # Safety
/// As [`Lanes`] demands of the processor; [`Span::check`] has passed.
#[inline(always)]
unsafe fn all_groups<T: Cell, L: Lanes>(span: &Span<'_, T>, mixed: Parts<&mut [f32]>) {
    let (dim, padded) = (span.part.dim, span.part.padded());
    let Parts { tops, sums, values } = mixed;
    let mut scores = [[0f32; COLUMNS]; MOST];
    for of in span.groups {
        let seen = &span.seen[of.start / span.share..=(of.end - 1) / span.share];
        let some = seen.iter().filter(|seen| !seen.is_empty());
        let Some(start) = some.clone().map(|seen| seen.start).min() else {
            continue;
        };
        let group = Group {
            columns: start..some.map(|seen| seen.end).max().unwrap_or(start),
            first: of.start,
            q: &span.q[of.start * dim..of.end * dim],
        };
        let parts = Parts {
            tops: &mut tops[of.clone()],
            sums: &mut sums[of.clone()],
            values: &mut values[of.start * padded..of.end * padded],
        };
        // SAFETY: as this function demands; q and the parts are of as many heads as named.
        unsafe {
            match of.len() {
                1 => group.take::<T, L, 1>(span, &mut scores, parts),
                2 => group.take::<T, L, 2>(span, &mut scores, parts),
                3 => group.take::<T, L, 3>(span, &mut scores, parts),
                4 => group.take::<T, L, 4>(span, &mut scores, parts),
                5 => group.take::<T, L, 5>(span, &mut scores, parts),
                6 => group.take::<T, L, 6>(span, &mut scores, parts),
                7 => group.take::<T, L, 7>(span, &mut scores, parts),
                _ => group.take::<T, L, MOST>(span, &mut scores, parts),
            }
        }
    }
}

/// Query heads that are taken together.
struct Group<'a> {
    /// All columns that one of them sees.
    columns: Range<usize>,
    /// Number of the first head.
    first: usize,
    /// [d, heads]
    q: &'a [f32],
}

impl Group<'_> {
    /// # Safety
    /// As [`all_groups`]; q and `mixed` are of R heads.
    #[inline(always)]
    unsafe fn take<T: Cell, L: Lanes, const R: usize>(
        &self,
        span: &Span<'_, T>,
        scores: &mut Scores,
        mixed: Parts<&mut [f32]>,
    ) {
        let panels = self.columns.start / LANES..self.columns.end.div_ceil(LANES);
        // SAFETY: `check` has seen that panels are whole and columns among them.
        unsafe {
            let mut panel = panels.start;
            while L::WIDE && panel + 2 <= panels.end {
                dots::<T, L, R, 2>(span, panel, self.q, scores);
                panel += 2;
            }
            while panel < panels.end {
                dots::<T, L, R, 1>(span, panel, self.q, scores);
                panel += 1;
            }
        }
        for (r, row) in scores.iter_mut().enumerate().take(R) {
            let seen = &span.seen[(self.first + r) / span.share];
            if seen.is_empty() {
                row[self.columns.clone()].fill(0.0);
                continue;
            }
            let whole = seen.start / LANES * LANES..seen.end.next_multiple_of(LANES);
            row[panels.start * LANES..whole.start].fill(0.0);
            row[whole.start..seen.start].fill(f32::NEG_INFINITY);
            row[seen.end..whole.end].fill(f32::NEG_INFINITY);
            row[whole.end..panels.end * LANES].fill(0.0);
            for hole in span.holes {
                let hole = hole.start.max(seen.start)..hole.end.min(seen.end);
                if !hole.is_empty() {
                    row[hole].fill(f32::NEG_INFINITY);
                }
            }
            let row = &mut row[whole];
            let top = max(row);
            mixed.tops[r] = top;
            mixed.sums[r] = match L::FUSED {
                true => exp_shifted::<true>(row, top),
                false => exp_shifted::<false>(row, top),
            };
        }
        let (vectors, out) = (span.part.padded() / LANES, mixed.values);
        // SAFETY: values of whole panels are [16, padded d], out is [R, padded d].
        unsafe {
            let mut at = 0;
            while L::WIDE && at + 2 <= vectors {
                blend::<T, L, R, 2>(span, self.columns.clone(), at, scores, out);
                at += 2;
            }
            while at < vectors {
                blend::<T, L, R, 1>(span, self.columns.clone(), at, scores, out);
                at += 1;
            }
        }
    }
}

/// Scores of R heads against C panels from `panel` on.
///
/// # Safety
/// As [`all_groups`]; the panels exist and q is [d, R].
#[inline(always)]
unsafe fn dots<T: Cell, L: Lanes, const R: usize, const C: usize>(
    span: &Span<'_, T>,
    panel: usize,
    q: &[f32],
    scores: &mut Scores,
) {
    let dim = span.part.dim;
    // SAFETY: as this function demands; d · 16 keys and shares · 16 scales of each panel.
    unsafe {
        let panels = span.panels.as_ptr().add(panel);
        let keys: [*const T; C] = std::array::from_fn(|c| (*panels.add(c)).keys.as_ptr());
        let scales: [*const f32; C] = std::array::from_fn(|c| (*panels.add(c)).key_scales.as_ptr());
        let q = q.as_ptr();
        let mut sums = [[L::splat(0.0); C]; R];
        let step = if T::SCALED { SHARE } else { dim };
        let mut start = 0;
        while start < dim {
            let end = (start + step).min(dim);
            let scale: [L; C] = std::array::from_fn(|c| match T::SCALED {
                true => L::from_f32(scales[c].add(start / SHARE * LANES)),
                false => L::splat(1.0),
            });
            for i in start..end {
                let key: [L; C] = std::array::from_fn(|c| {
                    let key = T::lanes::<L>(keys[c].add(i * LANES));
                    if T::SCALED { key.times(scale[c]) } else { key }
                });
                for (r, sums) in sums.iter_mut().enumerate() {
                    let q = L::splat(*q.add(i * R + r));
                    for c in 0..C {
                        sums[c] = sums[c].plus_product(q, key[c]);
                    }
                }
            }
            start = end;
        }
        for (sums, scores) in sums.into_iter().zip(scores) {
            for (c, sum) in sums.into_iter().enumerate() {
                sum.store(scores.as_mut_ptr().add((panel + c) * LANES));
            }
        }
    }
}

/// Σ weight · value over the columns, for vectors `at..at + C` of the values of R heads.
///
/// # Safety
/// As [`all_groups`]; the columns exist, and `out` is [R, padded d].
#[inline(always)]
unsafe fn blend<T: Cell, L: Lanes, const R: usize, const C: usize>(
    span: &Span<'_, T>,
    columns: Range<usize>,
    at: usize,
    weights: &Scores,
    out: &mut [f32],
) {
    let (padded, shares) = (span.part.padded(), span.part.shares());
    // SAFETY: as this function demands; 16 · padded d values and 16 · shares scales of each panel.
    unsafe {
        let mut sums = [[L::splat(0.0); C]; R];
        let weights = weights.as_ptr().cast::<f32>();
        let mut column = columns.start;
        while column < columns.end {
            let panel = &*span.panels.as_ptr().add(column / LANES);
            let end = columns.end.min((column / LANES + 1) * LANES);
            for column in column..end {
                let lane = column % LANES;
                let values = panel.values.as_ptr().add(lane * padded + at * LANES);
                let value: [L; C] = std::array::from_fn(|c| {
                    let value = T::lanes::<L>(values.add(c * LANES));
                    if !T::SCALED {
                        return value;
                    }
                    let share = (at + c) * LANES / SHARE;
                    value.times(L::splat(
                        *panel.value_scales.as_ptr().add(lane * shares + share),
                    ))
                });
                for (r, sums) in sums.iter_mut().enumerate() {
                    let weight = L::splat(*weights.add(r * COLUMNS + column));
                    for c in 0..C {
                        sums[c] = sums[c].plus_product(weight, value[c]);
                    }
                }
            }
            column = end;
        }
        for (r, sums) in sums.into_iter().enumerate() {
            for (c, sum) in sums.into_iter().enumerate() {
                sum.store(out.as_mut_ptr().add(r * padded + (at + c) * LANES));
            }
        }
    }
}
