//! Recordings as CUDA graphs. Launches are captured on a stream of their own, so other threads' work goes on meanwhile.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

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
        // SAFETY: made by `record`; its capture has ended.
        unsafe { result::stream::destroy(self.0) }.ok();
    }
}

/// A capture under way. It ends with its owner, also where recorded work fails or panics: a stream cannot be destroyed
/// while it captures.
struct Capture {
    stream: sys::CUstream,
    ended: bool,
}

impl Capture {
    fn begin(stream: &Stream) -> Result<Self, DeviceError> {
        // Other calls may go on meanwhile, on this thread too: a buffer that is dropped is freed.
        let mode = sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_RELAXED;
        // SAFETY: a stream of this device.
        unsafe { result::stream::begin_capture(stream.0, mode) }
            .map_err(failed("cuStreamBeginCapture"))?;
        Ok(Self {
            stream: stream.0,
            ended: false,
        })
    }

    fn end(&mut self) -> Result<Captured, DeviceError> {
        self.ended = true;
        // SAFETY: the stream on which the capture began, which outlives it.
        let captured = unsafe { result::stream::end_capture(self.stream) };
        captured.map(Captured).map_err(failed("cuStreamEndCapture"))
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        if !self.ended {
            // What was captured so far goes with the result.
            self.end().ok();
        }
    }
}

/// What was captured: made into a graph that can be launched, and destroyed with its owner.
struct Captured(sys::CUgraph);

impl Drop for Captured {
    fn drop(&mut self) {
        // SAFETY: a graph of ours alone, which an executable one does not need any more.
        unsafe { result::graph::destroy(self.0) }.ok();
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
    // Before the capture, so that it is dropped after it.
    let recorder = Recorder {
        device,
        card,
        memory,
        stream: Stream(stream),
        buffers: Mutex::default(),
    };
    let mut capture = Capture::begin(&recorder.stream)?;
    work(&recorder)?;
    let captured = capture.end()?;
    // SAFETY: a graph that was just captured.
    let graph = unsafe { result::graph::instantiate(captured.0, sys::CUgraphInstantiate_flags(0)) }
        .map_err(failed("cuGraphInstantiate"))?;
    let buffers = std::mem::take(&mut *lock(&recorder.buffers));
    Ok(Box::new(Graph {
        card: card.clone(),
        graph,
        _buffers: buffers,
    }))
}

fn lock(buffers: &Mutex<Vec<Buffer>>) -> MutexGuard<'_, Vec<Buffer>> {
    buffers.lock().unwrap_or_else(PoisonError::into_inner)
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
        lock(&self.buffers).extend(used);
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
