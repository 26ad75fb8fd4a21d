//! Launches that are recorded once and replayed as one (CUDA graphs, CUDA C++ programming guide, section "CUDA Graphs"):
//! a step of a decoding loop is some hundred small kernels, whose launches take the host longer than the card takes for
//! their work.
//!
//! While a thread records, its kernels and products go on a stream of its own, so that what other threads do on the
//! device's stream goes on and is not recorded with them. Nothing of candle's may be called then: that would run at once,
//! on memory that is only there when the recording is replayed.

use std::cell::RefCell;
use std::sync::Arc;

use candle_core::cuda_backend::WrapErr;
use candle_core::cuda_backend::cudarc::driver::{CudaGraph, CudaStream, result, sys};
use candle_core::{CudaDevice, Result};

thread_local! {
    /// The stream on which this thread records, if it does.
    static RECORDED: RefCell<Option<Arc<CudaStream>>> = const { RefCell::new(None) };
}

/// The stream on which this thread's launches and memory are.
pub(super) fn stream(device: &CudaDevice) -> Arc<CudaStream> {
    RECORDED.with_borrow(|recorded| match recorded {
        Some(stream) => stream.clone(),
        None => device.cuda_stream(),
    })
}

/// Whether this thread records.
pub(crate) fn is_on() -> bool {
    RECORDED.with_borrow(Option::is_some)
}

/// Recorded launches. The memory that they name MUST outlive it.
#[derive(Debug)]
pub(crate) struct Recording {
    graph: Graph,
    /// The device's.
    stream: Arc<CudaStream>,
}

struct Graph(CudaGraph);

#[expect(unsafe_code, reason = "cudarc's type has pointers")]
// SAFETY: the driver's graphs may be used by any thread, by one at a time ("Graph object thread safety" in its manual);
// this one is used through `&mut` only.
unsafe impl Send for Graph {}

impl std::fmt::Debug for Graph {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Graph")
    }
}

impl Recording {
    /// Of the `launches`, which are not run; all of them MUST have run before, so that what is loaded at a first call is
    /// there.
    pub(crate) fn of(
        device: &CudaDevice,
        launches: impl FnOnce() -> crate::Result<()>,
    ) -> crate::Result<Self> {
        let stream = device.cuda_stream();
        let own = stream.context().new_stream().w()?;
        // Other threads may do what they like meanwhile.
        let mode = sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_RELAXED;
        own.begin_capture(mode).w()?;
        let outcome = {
            let _until_here = Recorder::begin(own.clone());
            launches()
        };
        // Whatever became of the launches, the stream has to be released.
        let graph = own.end_capture(sys::CUgraphInstantiate_flags(0));
        outcome?;
        let Some(graph) = graph.w()? else {
            return Err(candle_core::Error::msg("nothing was recorded").into());
        };
        check(&graph)?;
        graph.upload().w()?;
        Ok(Self {
            graph: Graph(graph),
            stream,
        })
    }

    /// Runs the launches behind all that is on the device's stream.
    pub(crate) fn replay(&mut self) -> Result<()> {
        self.stream.context().bind_to_thread().w()?;
        #[expect(
            unsafe_code,
            reason = "cudarc launches on the stream of the recording only"
        )]
        // SAFETY: the graph is whole, and `&mut self` keeps other threads away from it.
        unsafe { result::graph::launch(self.graph.0.cu_graph_exec(), self.stream.cu_stream()) }.w()
    }
}

/// Ends this thread's recording when it is dropped.
struct Recorder;

impl Recorder {
    fn begin(stream: Arc<CudaStream>) -> Self {
        RECORDED.set(Some(stream));
        Self
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        RECORDED.set(None);
    }
}

/// Refuses what must not be replayed: copies, above all those from memory of the host that is gone by then.
fn check(graph: &CudaGraph) -> Result<()> {
    use sys::CUgraphNodeType as Kind;
    let mut count = 0;
    #[expect(unsafe_code, reason = "cudarc has no safe call")]
    // SAFETY: without a place for the nodes their number is written.
    unsafe { sys::cuGraphGetNodes(graph.cu_graph(), std::ptr::null_mut(), &raw mut count) }
        .result()
        .w()?;
    let mut nodes: Vec<sys::CUgraphNode> = vec![std::ptr::null_mut(); count];
    #[expect(unsafe_code, reason = "cudarc has no safe call")]
    // SAFETY: there is a place for each of `count` nodes.
    unsafe { sys::cuGraphGetNodes(graph.cu_graph(), nodes.as_mut_ptr(), &raw mut count) }
        .result()
        .w()?;
    for node in nodes.into_iter().take(count) {
        let mut kind = Kind::CU_GRAPH_NODE_TYPE_EMPTY;
        #[expect(unsafe_code, reason = "cudarc has no safe call")]
        // SAFETY: the node is one of the graph's.
        unsafe { sys::cuGraphNodeGetType(node, &raw mut kind) }
            .result()
            .w()?;
        let may_be = matches!(
            kind,
            Kind::CU_GRAPH_NODE_TYPE_KERNEL
                | Kind::CU_GRAPH_NODE_TYPE_MEMSET
                | Kind::CU_GRAPH_NODE_TYPE_MEM_ALLOC
                | Kind::CU_GRAPH_NODE_TYPE_MEM_FREE
                | Kind::CU_GRAPH_NODE_TYPE_EMPTY
        );
        if !may_be {
            candle_core::bail!("a recording of {kind:?} cannot be replayed");
        }
    }
    Ok(())
}
