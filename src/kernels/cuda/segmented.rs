//! What many low-rank adapters add to one batch, on an accelerator; the host's arm is `kernels/segmented`.
//!
//! Factors of all adapters lie in one slab; a table says which rows meet which of them, at which rank. The table is the only
//! thing that changes from step to step: launches always cover all of its room, so a recorded step serves any batch.

use std::ops::Range;

use half::f16;

use crate::device::{Accelerator, Arg, Buffer, DeviceError, Launch, Part};
use crate::kernels::segmented::{Factors, Matrix};

use super::{Rows, holds, size};

const OPERATION: &str = "segmented";
/// Rows of a tile at most.
const TILE: usize = 8;
/// Bytes of a tile in the table.
const TILE_BYTES: usize = 40;
/// Ranks that a block of threads takes, and the threads.
const RANKS: u32 = 8;
const SHRINK_THREADS: u32 = 256;
/// Columns that a block of threads takes, one a thread.
const COLUMNS: u32 = 128;
/// Factors begin at multiples of so many bytes.
const ALIGNMENT: usize = 16;

fn wrong(operand: &'static str, problem: String) -> DeviceError {
    DeviceError::operand(OPERATION, operand, problem)
}

/// The factors of one product `scale · B A` in a slab.
#[derive(Debug, Clone)]
pub struct Placed {
    slab: Buffer,
    /// Byte of the slab at which A [rank, inputs] begins, and Bᵀ [rank, outputs].
    a: usize,
    b: usize,
    end: usize,
    rank: usize,
    inputs: usize,
    outputs: usize,
    /// Numbers of 32 bits; else bf16.
    wide: bool,
    scale: f32,
}

/// As the kernels read them: bf16 where both factors are, else f32.
fn is_wide(factors: &Factors<'_>) -> bool {
    !matches!((factors.a, factors.b), (Matrix::Bf16(_), Matrix::Bf16(_)))
}

/// Bytes that [`Placed::upload`] takes of a slab.
pub fn bytes_of(factors: &Factors<'_>) -> usize {
    let each = if is_wide(factors) { 4 } else { 2 };
    let padded = |count: usize| (count * each).next_multiple_of(ALIGNMENT);
    padded(factors.a.len()) + padded(factors.b.len())
}

impl Placed {
    /// Copies factors to a slab, from byte `at` on, a multiple of 16. The next can lie at [`end`](Self::end).
    pub fn upload(
        device: &dyn Accelerator,
        slab: &Buffer,
        at: usize,
        factors: &Factors<'_>,
    ) -> Result<Self, DeviceError> {
        let Factors {
            rank,
            inputs,
            outputs,
            scale,
            ..
        } = *factors;
        let fits = rank > 0
            && rank.checked_mul(inputs) == Some(factors.a.len())
            && rank.checked_mul(outputs) == Some(factors.b.len());
        if !fits {
            let (a, b) = (factors.a.len(), factors.b.len());
            let problem = format!(
                "of {a} and {b} numbers are not [{rank}, {inputs}] and [{outputs}, {rank}]"
            );
            return Err(wrong("factors", problem));
        }
        if !at.is_multiple_of(ALIGNMENT) {
            return Err(wrong(
                "slab",
                format!("has no place for factors at byte {at}"),
            ));
        }
        let wide = is_wide(factors);
        let mut numbers = bytes(factors.a, wide, 0..rank * inputs);
        numbers.resize(numbers.len().next_multiple_of(ALIGNMENT), 0);
        let b = at + numbers.len();
        // From [outputs, rank] to [rank, outputs], so that threads with neighbouring columns read side by side.
        let transposed = (0..rank).flat_map(|r| (0..outputs).map(move |n| n * rank + r));
        numbers.extend(bytes(factors.b, wide, transposed));
        numbers.resize(bytes_of(factors), 0);
        device.upload(slab, at, &numbers)?;
        Ok(Self {
            slab: slab.clone(),
            a: at,
            b,
            end: at + numbers.len(),
            rank,
            inputs,
            outputs,
            wide,
            scale,
        })
    }

    /// The first byte behind it.
    pub fn end(&self) -> usize {
        self.end
    }
}

/// The numbers at these places, as bytes of f32 or bf16.
fn bytes(matrix: Matrix<'_>, wide: bool, places: impl Iterator<Item = usize>) -> Vec<u8> {
    let widened = |bits: [u8; 2]| f32::from_bits(u32::from(u16::from_le_bytes(bits)) << 16);
    match matrix {
        Matrix::F32(values) => places.flat_map(|at| values[at]).collect(),
        Matrix::F16(values) => places
            .flat_map(|at| f16::from_le_bytes(values[at]).to_f32().to_le_bytes())
            .collect(),
        Matrix::Bf16(values) if wide => places
            .flat_map(|at| widened(values[at]).to_le_bytes())
            .collect(),
        Matrix::Bf16(values) => places.flat_map(|at| values[at]).collect(),
    }
}

/// Rows of one adapter.
#[derive(Debug, Clone)]
pub struct Segment<'a> {
    pub rows: Range<usize>,
    pub factors: &'a Placed,
}

/// The most that a table can hold.
#[derive(Debug, Clone, Copy)]
pub struct Room {
    /// Rows of a batch.
    pub rows: usize,
    /// Segments, and eights of rows of long ones.
    pub tiles: usize,
    pub rank: usize,
}

/// Which rows of a batch meet which factors of one layer [inputs → outputs].
#[derive(Debug)]
pub struct Table {
    slab: Buffer,
    tiles: Buffer,
    /// x Aᵀ, scaled: f32 [rows, rank].
    hidden: Buffer,
    room: Room,
    inputs: usize,
    outputs: usize,
}

impl Table {
    /// An empty one, for factors of this slab.
    pub fn with_room(
        device: &dyn Accelerator,
        slab: &Buffer,
        room: Room,
        (inputs, outputs): (usize, usize),
    ) -> Result<Self, DeviceError> {
        let too_large = || wrong("table", format!("of {room:?} is too large"));
        let tiles = room.tiles.checked_mul(TILE_BYTES).ok_or_else(too_large)?;
        let hidden = room.rows.checked_mul(room.rank).ok_or_else(too_large)?;
        let hidden = hidden.checked_mul(size_of::<f32>()).ok_or_else(too_large)?;
        let table = Self {
            slab: slab.clone(),
            tiles: device.alloc(Part::Scratch, tiles)?,
            hidden: device.alloc(Part::Scratch, hidden)?,
            room,
            inputs,
            outputs,
        };
        table.write(device, &[])?;
        Ok(table)
    }

    /// What the next [`add`] does: segments in ascending order that do not overlap.
    pub fn write(
        &self,
        device: &dyn Accelerator,
        segments: &[Segment<'_>],
    ) -> Result<(), DeviceError> {
        let mut tiles = Vec::with_capacity(self.tiles.bytes());
        let mut from = 0;
        for Segment { rows, factors } in segments {
            self.check(factors)?;
            if rows.start < from || rows.end < rows.start || rows.end > self.room.rows {
                let room = self.room.rows;
                return Err(wrong(
                    "segments",
                    format!("have rows {rows:?} after row {from}, of {room}"),
                ));
            }
            from = rows.end;
            for row in rows.clone().step_by(TILE) {
                tile(&mut tiles, factors, row..(row + TILE).min(rows.end));
            }
        }
        if tiles.len() > self.tiles.bytes() {
            let (needed, room) = (tiles.len() / TILE_BYTES, self.room.tiles);
            return Err(wrong(
                "segments",
                format!("take {needed} tiles, and there is room for {room}"),
            ));
        }
        // Empty tiles to the end.
        tiles.resize(self.tiles.bytes(), 0);
        device.upload(&self.tiles, 0, &tiles)
    }

    fn check(&self, factors: &Placed) -> Result<(), DeviceError> {
        if !factors.slab.is_same(&self.slab) {
            return Err(wrong("factors", "lie in another slab".to_owned()));
        }
        let (inputs, outputs) = (factors.inputs, factors.outputs);
        if (inputs, outputs) != (self.inputs, self.outputs) {
            let layer = (self.inputs, self.outputs);
            return Err(wrong(
                "factors",
                format!("are for {inputs} → {outputs}, the layer is {layer:?}"),
            ));
        }
        if factors.rank > self.room.rank {
            let (rank, room) = (factors.rank, self.room.rank);
            return Err(wrong(
                "factors",
                format!("have rank {rank}, and there is room for {room}"),
            ));
        }
        Ok(())
    }
}

/// `tile_t` of the kernels, little-endian as the device.
fn tile(out: &mut Vec<u8>, factors: &Placed, rows: Range<usize>) {
    out.extend((factors.a as u64).to_le_bytes());
    out.extend((factors.b as u64).to_le_bytes());
    // All of them were checked against rooms that are sizes of buffers.
    for value in [
        rows.start,
        rows.len(),
        factors.rank,
        usize::from(factors.wide),
    ] {
        out.extend((value as u32).to_le_bytes());
    }
    out.extend(factors.scale.to_le_bytes());
    out.extend([0; 4]);
}

/// y[rows] += scale · (x[rows] Aᵀ) Bᵀ for every segment of the table; rows between segments stay as they are. x [rows, inputs]
/// and y [rows, outputs] have all rows that the table has room for.
pub fn add(
    device: &dyn Accelerator,
    x: Rows<'_>,
    table: &Table,
    y: Rows<'_>,
) -> Result<(), DeviceError> {
    for (name, operand, width) in [("x", x, table.inputs), ("y", y, table.outputs)] {
        operand.check(OPERATION, name)?;
        operand.check_width(OPERATION, name, width)?;
        if operand.rows < table.room.rows {
            let (rows, room) = (operand.rows, table.room.rows);
            return Err(wrong(name, format!("has {rows} rows, the table {room}")));
        }
    }
    let [tiles, rank, inputs, outputs] = [
        size(OPERATION, "tiles", table.room.tiles)?,
        size(OPERATION, "rank", table.room.rank)?,
        size(OPERATION, "inputs", table.inputs)?,
        size(OPERATION, "outputs", table.outputs)?,
    ];
    holds(
        OPERATION,
        "tiles",
        &table.tiles,
        Some(table.room.tiles),
        TILE_BYTES,
    )?;
    if tiles == 0 || rank == 0 || outputs == 0 {
        return Ok(());
    }
    let launch = |kernel, blocks, threads, from, to, width| {
        device.launch(&Launch {
            kernel,
            grid: [tiles, blocks, 1],
            block: [threads, 1, 1],
            shared: 0,
            args: &[
                Arg::Buffer(from),
                Arg::Buffer(&table.slab),
                Arg::Buffer(&table.tiles),
                Arg::Buffer(to),
                Arg::U32(width),
                Arg::U32(rank),
            ],
        })
    };
    let (ranks, columns) = (rank.div_ceil(RANKS), outputs.div_ceil(COLUMNS));
    launch(
        "lowrank_shrink",
        ranks,
        SHRINK_THREADS,
        x.buffer,
        &table.hidden,
        inputs,
    )?;
    launch(
        "lowrank_expand",
        columns,
        COLUMNS,
        &table.hidden,
        y.buffer,
        outputs,
    )
}
