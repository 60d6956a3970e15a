package wire

import "switchboard/internal/chat"

// Upload answers POST /api/v1/media/upload, POST /api/v1/media/{id}/complete and GET
// /api/v1/media/{id}/info. The URLs end after an hour or two; MediaURL is what its owner sends.
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

// BeginUpload is the body of POST /api/v1/media.
type BeginUpload struct {
	Size int64  `json:"size"` // of the file, in bytes
	Name string `json:"name,omitempty"`
}

// DirectUpload answers it: where the client sends the bytes by itself, and how many.
type DirectUpload struct {
	UploadID  chat.MediaID `json:"upload_id"` // to complete it; the upload gets an id of its own
	Method    string       `json:"method"`
	URL       string       `json:"url"`
	Size      int64        `json:"size"`
	ExpiresAt int64        `json:"expires_at"` // Unix seconds; that of the URL
}
