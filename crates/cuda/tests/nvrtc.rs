//! The kernels compile for every kind of card that NVRTC knows. Without NVRTC (`just cuda-kernels` brings it) nothing is
//! checked, which is said.

use sightline_cuda::library::Places;
use sightline_cuda::nvrtc::Nvrtc;
use sightline_cuda::{Error, kernels};

#[test]
fn kernels_compile() {
    let places = Places::new(|name| std::env::var_os(name));
    let nvrtc = match Nvrtc::open(&places) {
        Ok(nvrtc) => nvrtc,
        Err(error) if std::env::var_os("SIGHTLINE_REQUIRE_NVRTC").is_some() => panic!("{error:?}"),
        Err(error) => {
            eprintln!(
                "the CUDA kernels were not compiled: {error} (`just cuda-kernels` brings it)"
            );
            return;
        }
    };
    for card in [(7, 5), (8, 0), (8, 6), (8, 9), (9, 0), (10, 0), (12, 0)] {
        let code = nvrtc
            .compile(kernels::RESIZE.name, kernels::RESIZE.source, card)
            .unwrap();
        assert_eq!(code[..4], *b"\x7fELF", "{card:?}");
    }
    let error = nvrtc
        .compile("broken.cu", "__global__ void f() { g(); }", (9, 0))
        .unwrap_err();
    let Error::Compile { log, .. } = error else {
        panic!("{error:?}");
    };
    assert!(log.contains("broken.cu(1)"), "{log}");
}
