//! The built-in synthetic scenes: images, captions, questions, boxes, classes.
