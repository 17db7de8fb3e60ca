//! Tensors as plain slices, and back.

use std::mem::MaybeUninit;
use std::ops::{Deref, Range};

use candle_core::{CpuStorage, Layout, Result, Shape, Storage, StorageRef, Tensor, bail};

/// The f32 values of a contiguous tensor in main memory, readable as a slice while this lives.
pub struct Values<'a> {
    storage: StorageRef<'a>,
    range: Range<usize>,
}

impl<'a> Values<'a> {
    /// Fails for other element types, other devices and strided layouts: callers make tensors contiguous first.
    pub fn of(tensor: &'a Tensor) -> Result<Self> {
        let (storage, layout) = tensor.storage_and_layout();
        let Storage::Cpu(cpu) = &*storage else {
            bail!("a kernel for main memory got a tensor of another device")
        };
        let range = range_of(cpu, layout)?;
        Ok(Self { storage, range })
    }
}

impl Deref for Values<'_> {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        match &*self.storage {
            Storage::Cpu(CpuStorage::F32(values)) => &values[self.range.clone()],
            // `of` let nothing else in, and the storage cannot change its kind while it is borrowed.
            _ => &[],
        }
    }
}

/// The f32 values of an operand of a custom operation.
pub fn slice<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    let range = range_of(storage, layout)?;
    Ok(&storage.as_slice::<f32>()?[range])
}

fn range_of(storage: &CpuStorage, layout: &Layout) -> Result<Range<usize>> {
    let CpuStorage::F32(values) = storage else {
        bail!("a kernel got {:?}, not f32", storage_type(storage))
    };
    let Some((start, end)) = layout.contiguous_offsets() else {
        bail!("a kernel got a strided operand {:?}", layout.shape())
    };
    if end > values.len() {
        bail!(
            "operand {start}..{end} lies outside its storage of {}",
            values.len()
        );
    }
    Ok(start..end)
}

fn storage_type(storage: &CpuStorage) -> candle_core::DType {
    use candle_core::backend::BackendStorage;
    storage.dtype()
}

/// What a custom operation returns.
pub fn result(values: Vec<f32>, shape: impl Into<Shape>) -> Result<(CpuStorage, Shape)> {
    let shape = shape.into();
    debug_assert_eq!(values.len(), shape.elem_count());
    Ok((CpuStorage::F32(values), shape))
}

/// An untracked f32 tensor in main memory.
pub fn tensor(values: Vec<f32>, shape: impl Into<Shape>) -> Result<Tensor> {
    let shape = shape.into();
    Tensor::from_vec(values, shape, &candle_core::Device::Cpu)
}

/// Room for a result of which every number will be written.
pub fn room(len: usize) -> Vec<MaybeUninit<f32>> {
    let mut room = Vec::with_capacity(len);
    // SAFETY: there is room for `len`, and nothing is a value of this type too.
    unsafe { room.set_len(len) };
    room
}

/// # Safety
/// Every number has been written.
pub unsafe fn written(room: Vec<MaybeUninit<f32>>) -> Vec<f32> {
    let mut room = std::mem::ManuallyDrop::new(room);
    // SAFETY: the parts of a vector, of a type of the same layout whose values all are written, says the caller.
    unsafe { Vec::from_raw_parts(room.as_mut_ptr().cast(), room.len(), room.capacity()) }
}

/// The size of the last dimension and how many such rows there are.
pub fn rows(shape: &Shape) -> Result<(usize, usize)> {
    match shape.dims() {
        [.., width] => Ok((shape.elem_count() / (*width).max(1), *width)),
        [] => bail!("a kernel got a scalar"),
    }
}

/// Some rows of x [T, d], in the order of their numbers; untracked.
pub fn select_rows(x: &Tensor, rows: &[usize]) -> Result<Tensor> {
    let (count, width) = x.dims2()?;
    if rows.len() == count && rows.iter().enumerate().all(|(at, row)| at == *row) {
        return Ok(x.detach());
    }
    let x = x.contiguous()?;
    let values = Values::of(&x)?;
    let mut picked = Vec::with_capacity(rows.len() * width);
    for &row in rows {
        if row >= count {
            bail!("row {row} of {count}");
        }
        picked.extend_from_slice(&values[row * width..(row + 1) * width]);
    }
    tensor(picked, (rows.len(), width))
}
