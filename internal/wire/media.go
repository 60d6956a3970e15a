package wire

import "switchboard/internal/chat"

// Upload answers POST /api/v1/media/upload and GET /api/v1/media/{id}/info. The URLs
// end after an hour or two; MediaURL is what its owner sends.
type Upload struct {
	MediaID      chat.MediaID `json:"media_id"`
	MediaURL     string       `json:"media_url"`
	Type         string       `json:"type"` // found out from the content
	Size         int64        `json:"size"`
	Name         string       `json:"name,omitempty"`
	Width        int          `json:"width,omitempty"` // of a picture, upright
	Height       int          `json:"height,omitempty"`
	ThumbnailURL string       `json:"thumbnail_url,omitempty"`
	// Placeholder is a data: URL of a picture of a few pixels.
	Placeholder string `json:"placeholder,omitempty"`
}
