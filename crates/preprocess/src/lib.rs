//! An image specification and encoded images in, a pixel batch out.
