//! Recordings as CUDA graphs. Launches are captured on a stream of their own, so other threads' work goes on meanwhile.

use std::sync::{Arc, Mutex, PoisonError};

use cudarc::driver::result;
use cudarc::driver::sys;

use crate::device::{
    Accelerator, Arg, Budget, Buffer, DeviceError, Launch, Memory, Part, Recording, Work,
};

use super::driver::{Card, Cuda, failed};

/// Stands in for the device while it records.
#[derive(Debug)]
struct Recorder<'a> {
    device: &'a Cuda,
    card: &'a Arc<Card>,
    memory: &'a Arc<dyn Memory>,
    stream: Stream,
    /// What the launches use.
    buffers: Mutex<Vec<Buffer>>,
}

/// A stream that is destroyed with its owner.
#[derive(Debug)]
struct Stream(sys::CUstream);

// SAFETY: a handle of the driver, which may be used from any thread.
unsafe impl Send for Stream {}
// SAFETY: as above.
unsafe impl Sync for Stream {}

impl Drop for Stream {
    fn drop(&mut self) {
        // SAFETY: made by `record`, and no capture is open on it any more.
        unsafe { result::stream::destroy(self.0) }.ok();
    }
}

/// A graph that can be launched.
#[derive(Debug)]
struct Graph {
    card: Arc<Card>,
    graph: sys::CUgraphExec,
    _buffers: Vec<Buffer>,
}

// SAFETY: a handle of the driver; launches of one graph are put in order by their stream.
unsafe impl Send for Graph {}
// SAFETY: as above.
unsafe impl Sync for Graph {}

pub(super) fn record(
    device: &Cuda,
    card: &Arc<Card>,
    memory: &Arc<dyn Memory>,
    work: &mut Work<'_>,
) -> Result<Box<dyn Recording>, DeviceError> {
    card.enter()?;
    let stream = result::stream::create(result::stream::StreamKind::NonBlocking)
        .map_err(failed("cuStreamCreate"))?;
    let recorder = Recorder {
        device,
        card,
        memory,
        stream: Stream(stream),
        buffers: Mutex::default(),
    };
    // Other calls may go on meanwhile, on this thread too: a buffer that is dropped is freed.
    let mode = sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_RELAXED;
    // SAFETY: a stream of this device.
    unsafe { result::stream::begin_capture(stream, mode) }
        .map_err(failed("cuStreamBeginCapture"))?;
    let worked = work(&recorder);
    // Ended in any case: a stream cannot be destroyed while it captures.
    // SAFETY: the stream on which the capture began.
    let captured = unsafe { result::stream::end_capture(stream) };
    worked?;
    let captured = captured.map_err(failed("cuStreamEndCapture"))?;
    // SAFETY: a graph that was just captured, which an executable one does not need any more.
    let graph = unsafe {
        let graph = result::graph::instantiate(captured, sys::CUgraphInstantiate_flags(0));
        result::graph::destroy(captured).ok();
        graph
    };
    let buffers = recorder.buffers.into_inner();
    Ok(Box::new(Graph {
        card: card.clone(),
        graph: graph.map_err(failed("cuGraphInstantiate"))?,
        _buffers: buffers.unwrap_or_else(PoisonError::into_inner),
    }))
}

impl Accelerator for Recorder<'_> {
    fn name(&self) -> &str {
        self.device.name()
    }

    fn budget(&self) -> &Budget {
        self.device.budget()
    }

    fn owns(&self, buffer: &Buffer) -> bool {
        self.device.owns(buffer)
    }

    fn alloc(&self, _part: Part, _bytes: usize) -> Result<Buffer, DeviceError> {
        Err(DeviceError::Unrecorded("an allocation"))
    }

    fn upload(&self, _to: &Buffer, _at: usize, _bytes: &[u8]) -> Result<(), DeviceError> {
        Err(DeviceError::Unrecorded("an upload"))
    }

    fn download(&self, _from: &Buffer, _at: usize, _bytes: &mut [u8]) -> Result<(), DeviceError> {
        Err(DeviceError::Unrecorded("a download"))
    }

    fn launch(&self, launch: &Launch<'_>) -> Result<(), DeviceError> {
        self.card.launch(self.memory, self.stream.0, launch)?;
        let used = launch.args.iter().filter_map(|arg| match arg {
            Arg::Buffer(buffer) => Some((*buffer).clone()),
            Arg::Null | Arg::U32(_) | Arg::F32(_) => None,
        });
        let buffers = self.buffers.lock();
        buffers.unwrap_or_else(PoisonError::into_inner).extend(used);
        Ok(())
    }

    fn record(&self, _work: &mut Work<'_>) -> Result<Box<dyn Recording>, DeviceError> {
        Err(DeviceError::Unrecorded("a recording"))
    }
}

impl Recording for Graph {
    fn replay(&self) -> Result<(), DeviceError> {
        self.card.enter()?;
        // SAFETY: an executable graph of this device, whose buffers it holds.
        unsafe { result::graph::launch(self.graph, self.card.stream) }
            .map_err(failed("cuGraphLaunch"))
    }
}

impl Drop for Graph {
    fn drop(&mut self) {
        if self.card.enter().is_ok() {
            // SAFETY: it is not launched again; the driver lets launches that are under way end.
            unsafe { result::graph::exec_destroy(self.graph) }.ok();
        }
    }
}
