package picture

import "image/color"

// cost is what decides how much decoding takes.
type cost struct {
	model       color.Model
	transparent bool // a PNG with tRNS, a WebP with ALPH

	// Of JPEG.
	progressive   bool
	untransformed bool  // RGB, although the model may not say so yet
	scans         int   // those that were seen
	scanned       int64 // pixels that they go through, each component for itself

	header   []byte // of PNG: IHDR
	lossless bool   // of WebP
}

// headerPNG is the size of IHDR. These are places in it.
const (
	headerPNG    = 13
	depthPNG     = 8
	interlacePNG = 12
)

// The trees of a lossless WebP: the decoder takes so many, and makes tables of each.
const (
	treesMax  = 2_600
	treeBytes = 56 << 10
	// pixelsPerTree is the smallest tile that has trees of its own.
	pixelsPerTree = 16
)

// bytes returns about how much memory decoding takes at its worst, as the decoders
// that are used here do it; nothing is taken for given back before the end.
func (c *cost) bytes(kind string, pixels int64) int64 {
	switch kind {
	case JPEG:
		return pixels * c.jpeg()
	case PNG:
		return pixels * c.png()
	case WebP:
		return c.webp(pixels)
	}
	return 2 * pixels // A frame of GIF has a byte for each, and another to be put in order.
}

// jpeg returns the bytes of a pixel: planes, what they are turned into, and of a
// progressive one the coefficients of all components, which are kept to the end.
func (c *cost) jpeg() int64 {
	const coefficient, converted = 4, 4
	var components, each int64 = 3, 3
	switch {
	case c.model == color.GrayModel:
		components, each = 1, 1
	case c.model == color.CMYKModel:
		components, each = 4, 4+converted
	case c.model == color.RGBAModel, c.untransformed:
		each = 3 + converted
	}
	if c.progressive {
		each += components * coefficient
	}
	return each
}

// png returns the bytes of a pixel; those of an interlaced one are there twice.
func (c *cost) png() int64 {
	var each int64 = 4
	if c.model == color.GrayModel && !c.transparent {
		each = 1
	}
	if len(c.header) < headerPNG || c.header[depthPNG] == 16 {
		each = 8
	}
	if len(c.header) < headerPNG || c.header[interlacePNG] != 0 {
		each *= 2
	}
	return each
}

// webp returns the bytes of all pixels. Transparency of a lossy one is a lossless
// picture in it.
func (c *cost) webp(pixels int64) int64 {
	const lossy, lossless, alpha = 2, 7, 1
	trees := min(treesMax, pixels/pixelsPerTree+1) * treeBytes
	switch {
	case c.lossless:
		return lossless*pixels + trees
	case c.transparent:
		return (lossless+alpha+lossy)*pixels + trees
	}
	return lossy * pixels
}
