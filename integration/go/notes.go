package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"golang.org/x/mod/sumdb/note"
)

// line of the input: the first has the key, each other a note and whether Go should accept it.
type line struct {
	Key      string
	Name     string
	Note     []byte
	Accepted bool
}

// notes compares Go's opinion of notes with the expected one.
func notes(from io.Reader) error {
	var (
		verifier note.Verifier
		wrong    []error
		seen     int
	)
	for decoder := json.NewDecoder(from); ; {
		var one line
		err := decoder.Decode(&one)
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		if one.Key != "" {
			if verifier, err = note.NewVerifier(one.Key); err != nil {
				return err
			}
			continue
		}
		seen++
		_, err = note.Open(one.Note, note.VerifierList(verifier))
		if (err == nil) != one.Accepted {
			wrong = append(wrong, fmt.Errorf("%s: expected %v, and Go says %v", one.Name, one.Accepted, err))
		}
	}
	if len(wrong) == 0 {
		fmt.Printf("%d notes\n", seen)
	}
	return errors.Join(wrong...)
}
