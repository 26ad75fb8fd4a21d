//! The steps of one image: decode, resize, crop, values.

use sightline_core::ImageFormat;
use sightline_core::image_spec::{Colour, ImageSpec, Layout, Reference, Rescale};
use sightline_imaging::resize::Part;
use sightline_imaging::{
    self as imaging, Announced, Channels, DecodeOptions, Decoded, Limits, Pixels, Scale, Sniffed,
    Window, sniff,
};

use crate::plan::{Plan, least_resized};
use crate::table::Tables;
use crate::workspace::{Pool, Stopwatch};
use crate::{Element, Mode, PrepareError, Timings, Workspace};

/// Turns encoded images into the values that a model is fed.
#[derive(Clone, Debug)]
pub struct Preprocessor {
    spec: ImageSpec,
    pub(crate) options: DecodeOptions,
    tables: Tables,
    mode: Mode,
    /// For the calls that bring no workspace of their own.
    pub(crate) pool: Pool,
}

impl Preprocessor {
    /// A preprocessor that decodes within `limits`.
    pub fn new(spec: ImageSpec, limits: Limits) -> Result<Self, PrepareError> {
        spec.check().map_err(Box::new)?;
        if !matches!(
            spec.rescale,
            Rescale::Factor { .. }
                | Rescale::FactorTop { .. }
                | Rescale::Single { .. }
                | Rescale::Fused { .. }
                | Rescale::Divide255
                | Rescale::None
        ) {
            return Err(PrepareError::Unsupported {
                what: "an unknown way of rescaling",
            });
        }
        Ok(Self {
            options: options(&spec)?.with_limits(limits),
            tables: Tables::new(&spec),
            mode: Mode::default(),
            pool: Pool::default(),
            spec,
        })
    }

    /// The same with values in another order.
    #[must_use]
    pub fn with_layout(mut self, layout: Layout) -> Self {
        self.spec.layout = layout;
        self
    }

    /// The same with another compromise between speed and exactness.
    #[must_use]
    pub fn with_mode(self, mode: Mode) -> Self {
        Self { mode, ..self }
    }

    /// The same with other values for the same pixels.
    pub(crate) fn with_spec(&self, spec: ImageSpec) -> Self {
        Self {
            tables: Tables::new(&spec),
            spec,
            ..self.clone()
        }
    }

    /// The specification.
    pub fn spec(&self) -> &ImageSpec {
        &self.spec
    }

    /// The order of the values.
    pub fn layout(&self) -> Layout {
        self.spec.layout
    }

    /// Whether pixels equal those of the reference.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// Values of one image: `3 * height * width` of them.
    pub fn len(&self) -> usize {
        3 * self.spec.size.width as usize * self.spec.size.height as usize
    }

    /// Never: a tensor has pixels.
    pub fn is_empty(&self) -> bool {
        false
    }

    /// Time spent in calls without a workspace of their own, on all threads together.
    pub fn timings(&self) -> Timings {
        self.pool.timings()
    }

    /// The values of an encoded image, row-major in the order of [`Self::layout`].
    pub fn prepare(&self, bytes: &[u8]) -> Result<Vec<f32>, PrepareError> {
        let mut values = vec![0.0; self.len()];
        self.pool
            .with(|workspace| self.prepare_into(bytes, workspace, &mut values))?;
        Ok(values)
    }

    /// The same into memory that is already there: `out` holds [`Self::len`] values.
    pub fn prepare_into<T: Element>(
        &self,
        bytes: &[u8],
        workspace: &mut Workspace,
        out: &mut [T],
    ) -> Result<(), PrepareError> {
        self.check_len(out.len())?;
        let Some((plan, pixels)) = self.read(bytes, workspace)? else {
            return self.prepare_whole(bytes, workspace, out);
        };
        let prepared = self.finish(&plan, plan.part(&pixels), workspace, out);
        workspace.decoder.recycle(pixels);
        prepared
    }

    /// Decodes what the plan of an image reads, exactly that. `None` for one that has to be resized whole.
    pub(crate) fn read(
        &self,
        bytes: &[u8],
        workspace: &mut Workspace,
    ) -> Result<Option<(Plan, Pixels)>, PrepareError> {
        if !self.is_planned_for(bytes) {
            return Ok(None);
        }
        let mut stopwatch = Stopwatch::start();
        let mut plan = None;
        // Only what the plan reads is decoded. Where there is no plan the file is decoded as well: if it is broken, that
        // is what is reported.
        let choose = |image: Announced| {
            let plan = plan.insert(self.plan(image)).as_ref().ok();
            plan.map_or(Window::whole(image.size()), |plan| plan.read)
        };
        let options = self.decode_options();
        let decoded = workspace.decoder.decode_rgb_window(bytes, &options, choose);
        stopwatch.lap(&mut workspace.timings.decode);
        let Decoded { pixels, mode, .. } = decoded?;
        if !self.is_planned() && !matches!(mode, imaging::Mode::Rgb | imaging::Mode::Grey) {
            workspace.decoder.recycle(pixels);
            return Ok(None);
        }
        match plan.expect("a decoder that succeeds has asked for the window") {
            Ok(plan) => Ok(Some((plan, pixels))),
            Err(error) => {
                workspace.decoder.recycle(pixels);
                Err(error)
            }
        }
    }

    /// The values of decoded pixels.
    pub fn prepare_pixels(&self, pixels: &Pixels) -> Result<Vec<f32>, PrepareError> {
        let mut values = vec![0.0; self.len()];
        self.pool
            .with(|workspace| self.prepare_pixels_into(pixels, workspace, &mut values))?;
        Ok(values)
    }

    /// The same into memory that is already there: `out` holds [`Self::len`] values.
    pub fn prepare_pixels_into<T: Element>(
        &self,
        pixels: &Pixels,
        workspace: &mut Workspace,
        out: &mut [T],
    ) -> Result<(), PrepareError> {
        self.check_len(out.len())?;
        if !self.is_planned() {
            let pixels = self.fit_whole(pixels)?;
            self.finish_whole(&pixels, workspace, out);
            return Ok(());
        }
        let plan = self.plan(Scale::Full.announce(pixels.size()))?;
        self.finish(&plan, Part::whole(pixels), workspace, out)
    }

    /// The pixels that the values are computed from: resized and cropped to the tensor's size.
    pub fn fit(&self, pixels: &Pixels) -> Result<Pixels, PrepareError> {
        if !self.is_planned() {
            return self.fit_whole(pixels);
        }
        let plan = self.plan(Scale::Full.announce(pixels.size()))?;
        let size = self.spec.size;
        let channels = pixels.channels();
        let mut out = Pixels::filled(
            size.width,
            size.height,
            channels,
            &padding(channels, self.spec.fill)[..channels.count()],
        )?;
        self.pool.with(
            |Workspace {
                 resizer, window, ..
             }| {
                resizer.resize_into(Part::whole(pixels), &plan.resize, window)?;
                let placed = plan.placed(window, channels, &self.spec);
                placed.copy_into(out.data_mut());
                Ok(out)
            },
        )
    }

    /// What comes after decoding.
    pub(crate) fn finish<T: Element>(
        &self,
        plan: &Plan,
        source: Part<'_>,
        workspace: &mut Workspace,
        out: &mut [T],
    ) -> Result<(), PrepareError> {
        let mut stopwatch = Stopwatch::start();
        let Workspace {
            resizer,
            window,
            timings,
            ..
        } = workspace;
        let resized = resizer.resize_into(source, &plan.resize, window);
        stopwatch.lap(&mut timings.resize);
        resized?;
        let placed = plan.placed(window, source.pixels.channels(), &self.spec);
        T::table(&self.tables).apply_into(placed, self.spec.layout, out);
        stopwatch.lap(&mut timings.normalise);
        timings.images += 1;
        Ok(())
    }

    /// Whether only the pixels that are read need to be decoded and resized. Not where an image is resized in
    /// the file's own mode, nor in OpenCV's arithmetic.
    pub(crate) fn is_planned(&self) -> bool {
        let is_rgb_first = matches!(self.spec.colour, Colour::Pillow | Colour::Sane);
        is_rgb_first && self.spec.reference != Reference::OpenCv
    }

    /// Whether a file that is to be resized in its own mode is probably of one whose channels are resized as those of RGB
    /// are: most JPEG files. Where padding is not black, it would be converted as well.
    fn may_convert_first(&self, bytes: &[u8]) -> bool {
        let is_jpeg = || sniff(bytes) == Some(Sniffed::Image(ImageFormat::Jpg));
        let is_last = self.spec.colour == Colour::PillowLast && self.spec.fill == [0; 3];
        is_last && self.spec.reference != Reference::OpenCv && is_jpeg()
    }

    /// Whether a file becomes RGB pixels before it is resized, in an arithmetic of two passes.
    pub(crate) fn is_planned_for(&self, bytes: &[u8]) -> bool {
        self.is_planned() || self.may_convert_first(bytes)
    }

    pub(crate) fn tables(&self) -> &Tables {
        &self.tables
    }

    pub(crate) fn plan(&self, image: Announced) -> Result<Plan, PrepareError> {
        Plan::new(&self.spec, self.mode, image)
    }

    fn decode_options(&self) -> DecodeOptions {
        match (self.mode, least_resized(self.spec.fit)) {
            (Mode::Fast, Some(size)) => DecodeOptions {
                scale: Scale::AtLeast(size),
                coarse: true,
                ..self.options
            },
            _ => self.options,
        }
    }

    pub(crate) fn check_len(&self, len: usize) -> Result<(), PrepareError> {
        let expected = self.len();
        if len == expected {
            Ok(())
        } else {
            Err(PrepareError::Room { len, expected })
        }
    }
}

/// How a file becomes RGB.
fn options(spec: &ImageSpec) -> Result<DecodeOptions, PrepareError> {
    let options = match spec.colour {
        Colour::Pillow | Colour::PillowLast | Colour::OpenCv => DecodeOptions::pillow(),
        Colour::Sane => DecodeOptions::sane(),
        _ => {
            return Err(PrepareError::Unsupported {
                what: "an unknown way of conversion to RGB",
            });
        }
    };
    if spec.colour == Colour::PillowLast && spec.upright {
        return Err(PrepareError::Unsupported {
            what: "an upright image that is converted last",
        });
    }
    Ok(DecodeOptions {
        orient: spec.upright,
        ..options
    })
}

/// What stands where pixels are missing; nothing where there is alpha.
fn padding(channels: Channels, [r, g, b]: [u8; 3]) -> [u8; 4] {
    if channels.has_alpha() {
        [0; 4]
    } else {
        [r, g, b, 0]
    }
}

#[cfg(test)]
mod tests {
    use sightline_core::image_spec::{CropRounding, Filter, Fit, Reference, Size};

    use super::*;

    fn spec(fit: Fit, width: u32, height: u32) -> ImageSpec {
        let size = Size { width, height };
        ImageSpec::new(size, fit, Filter::Bilinear, Reference::Pillow13)
    }

    #[test]
    fn values_are_channel_by_channel() {
        let crop = CropRounding::Floor;
        let preprocessor =
            Preprocessor::new(spec(Fit::CropOnly { crop }, 2, 1), Limits::default()).unwrap();
        let data = vec![9, 9, 9, 1, 2, 3, 4, 5, 6, 9, 9, 9];
        let pixels = Pixels::new(4, 1, Channels::Rgb, data).unwrap();
        let values = preprocessor.prepare_pixels(&pixels).unwrap();
        assert_eq!(values, [1.0, 4.0, 2.0, 5.0, 3.0, 6.0]);
        assert_eq!(values.len(), preprocessor.len());
        let grey = Pixels::new(2, 1, Channels::Grey, vec![7, 8]).unwrap();
        let values = preprocessor.prepare_pixels(&grey).unwrap();
        assert_eq!(values, [7.0, 8.0, 7.0, 8.0, 7.0, 8.0]);
    }

    #[test]
    fn extreme_shapes_are_errors_of_the_image_not_of_memory() {
        let crop = CropRounding::Floor;
        let fit = Fit::ShortestEdge { edge: 224, crop };
        let preprocessor = Preprocessor::new(spec(fit, 224, 224), Limits::default()).unwrap();
        let line = Pixels::filled(60_000, 1, Channels::Rgb, &[1, 2, 3]).unwrap();
        assert_eq!(
            preprocessor.prepare_pixels(&line).unwrap_err().class(),
            "resize"
        );
        for (width, height) in [(0, 224), (224, 1 << 20)] {
            let error = Preprocessor::new(spec(fit, width, height), Limits::default());
            assert_eq!(error.unwrap_err().class(), "tensor-size");
        }
    }
}
